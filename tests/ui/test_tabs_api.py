"""The one call for programs, made as a program makes it: gradio_client, over a real socket, to a real file."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from tab_parts import Bench, finish, make_bench, new_run, publish
from tiny_model import TINY_LABELS, export_tiny_model
from ui_window import Served

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what the client's own imports complain about
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_tiny_model(tmp_path_factory.mktemp("model") / "model.onnx")


@pytest.fixture
def served(window: Served, sample_pictures: Path, tmp_path: Path, model: Path) -> Iterator[Bench]:
    """A project with a published model, in the window's own data home."""
    bench = make_bench(window.home, sample_pictures, tmp_path)
    run = new_run(bench, "20260101-000000-quick")
    finish(run, bench)
    publish(run)
    run.onnx_path.write_bytes(model.read_bytes())
    yield bench
    window.library.delete_forever(window.library.trash(bench.project.id))


def client_of(window: Served, tmp_path: Path) -> Client:
    return Client(window.url, verbose=False, download_files=str(tmp_path / "downloads"))


def test_a_program_predicts_and_finds_nothing_else(window: Served, served: Bench, tmp_path: Path) -> None:
    picture = tmp_path / "sky.png"
    Image.new("RGB", (80, 60), (40, 90, 220)).save(picture)
    client = client_of(window, tmp_path)
    try:
        described = client.view_api(return_format="dict", print_info=False)
        assert list(described["named_endpoints"]) == ["/predict"] and described["unnamed_endpoints"] == {}
        assert "handle_file" in described["named_endpoints"]["/predict"]["description"]
        answer = client.predict(image=handle_file(str(picture)), project=served.project.name, api_name="/predict")
        assert answer["label"] in TINY_LABELS and sorted(label for label, _ in answer["top"]) == sorted(TINY_LABELS)
        assert abs(sum(probability for _, probability in answer["top"]) - 1) < 1e-3
        assert answer["provider"] == "CPUExecutionProvider" and answer["run"] == "20260101-000000-quick"
        with pytest.raises(AppError, match="no project 'nobody'"):
            client.predict(image=handle_file(str(picture)), project="nobody", api_name="/predict")
        words = tmp_path / "words.txt"
        words.write_text("no picture")
        with pytest.raises(AppError, match="not a picture of a kind that is read"):
            client.predict(image=handle_file(str(words)), project=served.project.name, api_name="/predict")
    finally:
        client.close()


def test_a_path_of_the_machine_is_not_an_upload(window: Served, served: Bench) -> None:
    call = {"data": [{"path": str(served.project.path / "studio.sqlite"), "meta": {"_type": "gradio.FileData"}}, ""], "session_hash": "s"}
    answer = window.post("/gradio_api/call/predict", call)
    assert answer.status_code == 400 and "upload it first" in answer.text
