"""Two runs compared, notes on runs, and the report: from run folders written by hand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blocklora.cli.parser import main
from blocklora.config import AdapterConfig, TrainingConfig
from blocklora.errors import JobError
from blocklora.files import read_json, write_json
from blocklora.jobs.run_folder import RunFolder
from blocklora.projects.dataset import Dataset, Item
from blocklora.projects.intake import accept, plan_folder
from blocklora.projects.library import Library
from blocklora.projects.records import TEST
from blocklora.projects.splits import Split
from blocklora.services.report import write_report
from blocklora.services.run_compare import compare, often, sign_test, verdict
from blocklora.services.run_data import read_run_data
from blocklora.services.run_notes import LONGEST, read_note, write_note
from blocklora.services.runs import RunRequest, Runs, make_run
from blocklora.training.metrics import report

NASTY = '<img src=x onerror="alert(1)">'


def sha(number: int) -> str:
    return f"{number:064x}"


def run_with(
    path: Path,
    answers: dict[int, int],
    labels: dict[int, int] | None = None,
    names: tuple[str, ...] = ("cup", "pen", "key"),
    pictures: dict[int, Path] | None = None,
    **training: Any,
) -> RunFolder:
    """A finished run that held out the pictures in `answers` (number -> answered class); a picture's true class is its number modulo 3."""
    true = {number: number % 3 for number in answers} | (labels or {})
    held = [Item(str((pictures or {}).get(n, f"gone/{n}.png")), true[n], sha(n), "0" * 16, f"i{n}") for n in answers]
    rest = [Item(f"gone/t{n}.png", n % 3, sha(10_000 + n), "0" * 16, f"t{n}") for n in range(12)]
    dataset = Dataset(names, ("a", "b", "c"), (*rest, *held))
    parts = Split(tuple(range(12)), tuple(range(12, 12 + len(held))), 0, 0, 0)
    config = TrainingConfig(**{"preset": "quick", **training})
    run = make_run(path, path.parent, dataset, parts, RunRequest("builtin", config, AdapterConfig(), project_name="Things"))
    probabilities = np.full((len(held), 3), 0.1)
    probabilities[range(len(held)), list(answers.values())] = 0.8
    section = report(probabilities, np.array([item.label for item in held]), names)
    for row, item in zip(section["images"], held, strict=True):
        row["image_id"], row["path"] = item.image_id, item.path
    write_json(run.result_path, {"held_out": section, "seconds": 12.0, "steps": 30, "best_step": 20, "stopped_early": False})
    return run


def right(numbers: range) -> dict[int, int]:
    return {number: number % 3 for number in numbers}


# ---- comparing


def test_the_sign_test_is_exact() -> None:
    assert sign_test(0, 0) == 1.0
    assert sign_test(12, 9) == pytest.approx(0.66362, abs=1e-4)  # 2 * P(X <= 9), X binomial of 21
    assert sign_test(9, 12) == sign_test(12, 9)
    assert sign_test(8, 0) == pytest.approx(2 / 256)
    assert sign_test(3, 3) == 1.0


def test_flips_are_found_by_content_whatever_else_changed(tmp_path: Path) -> None:
    first = run_with(tmp_path / "1", right(range(30)) | {0: 1, 1: 2, 2: 0})
    second = run_with(tmp_path / "2", right(range(5, 40)) | {2: 2, 0: 2, 9: 1}, names=("mug", "pen", "key"), learning_rate=0.02)
    found = compare(first, second)
    assert found.shared == 27 and found.only_first == 3 and found.only_second == 10 and found.relabelled == 0
    assert [flip.image_id for flip in found.gained] == ["i2"] and [flip.image_id for flip in found.lost] == ["i9"]
    assert [flip.image_id for flip in found.moved] == ["i0"]  # a class that was renamed is the same class
    assert (found.right_first, found.right_second) == (25, 25)
    assert ("Step size", "0.0002", "0.02") in found.settings and not found.same_data
    assert "1 flipped to right, 1 to wrong: that may be chance" in verdict(found)


def test_few_shared_pictures_are_said_to_say_little(tmp_path: Path) -> None:
    none = compare(run_with(tmp_path / "1", right(range(6))), run_with(tmp_path / "2", right(range(6, 12))))
    assert none.shared == 0 and "no picture in common" in verdict(none)
    few = compare(run_with(tmp_path / "3", right(range(6))), run_with(tmp_path / "4", right(range(3, 9))))
    assert few.shared == 3 and "share only 3 pictures" in verdict(few)


def test_a_picture_that_was_relabelled_is_no_flip(tmp_path: Path) -> None:
    found = compare(run_with(tmp_path / "1", right(range(30))), run_with(tmp_path / "2", right(range(30)), labels={4: 0}))
    assert found.relabelled == 1 and found.shared == 29 and not found.gained and not found.lost


def test_a_clear_difference_is_called_one(tmp_path: Path) -> None:
    worse = {number: (number + 1) % 3 for number in range(10)}
    found = compare(run_with(tmp_path / "1", right(range(40)) | worse), run_with(tmp_path / "2", right(range(40))))
    words = verdict(found)
    assert "10 flipped to right, 0 to wrong. The second is better" in words and "less than once in 100" in words
    assert [often(p) for p in (1.0, 0.66, 0.012)] == ["every time", "about 66 times in 100", "about 12 times in 1,000"]
    assert "The first is better" in verdict(compare(RunFolder(tmp_path / "2"), RunFolder(tmp_path / "1")))


def test_every_image_judged_by_cross_validation_is_compared_where_both_have_it(tmp_path: Path) -> None:
    runs = [run_with(tmp_path / name, right(range(6))) for name in "12"]
    for place, run in enumerate(runs):
        result, labels = run.result() or {}, [n % 3 for n in (*range(12), *range(6))]
        said = [(label + (place and number == 0)) % 3 for number, label in enumerate(labels)]
        section = report(np.eye(3)[said], np.array(labels), ("cup", "pen", "key"))
        write_json(run.result_path, {**result, "cross_validated": section})
    found = compare(*runs)
    assert found.section == "cross_validated" and found.shared == 18 and [flip.image_id for flip in found.lost] == ["t0"]


def test_one_run_twice_and_a_run_without_a_result_are_refused(tmp_path: Path) -> None:
    run = run_with(tmp_path / "1", right(range(6)))
    other = run_with(tmp_path / "2", right(range(6)))
    other.result_path.unlink()
    with pytest.raises(JobError, match="one run twice"):
        compare(run, run)
    with pytest.raises(JobError, match="no result"):
        compare(run, other)


def test_damaged_results_are_told_and_nothing_in_them_is_markup(tmp_path: Path) -> None:
    good, odd = run_with(tmp_path / "1", right(range(6))), run_with(tmp_path / "2", right(range(6)))
    result = odd.result() or {}
    for damage in ({"images": [{}] * 6}, {"correct": "<script>alert(1)</script>"}, {"confusion": [["<b>"] * 3] * 3}, {"per_class": [{}]}):
        write_json(odd.result_path, {**result, "held_out": {**result["held_out"], **damage}})
        with pytest.raises(JobError, match="damaged"):
            write_report(odd)
    write_json(odd.result_path, {**result, "held_out": {**result["held_out"], "images": [{}] * 6}})
    with pytest.raises(JobError, match="damaged"):
        compare(good, odd)
    odd.environment_path.write_text('{"packages": ["<b>"], "commit": {"<b>": 1}, "python": "<b>"}')
    write_json(odd.result_path, result)
    assert "<code><b>" not in write_report(odd).read_text(encoding="utf-8")
    odd.environment_path.write_text("{damaged")
    assert odd.environment() == {}


# ---- notes


def test_pictures_of_a_moved_project_are_found_again_its_test_pictures_too(tmp_path: Path, make_pictures: Any) -> None:
    library = Library(tmp_path / "home")
    project = library.create("Fruit")
    accept(project, plan_folder(project, make_pictures(classes=2, each=6), local_mode=True, allowed_roots=[tmp_path]))
    project.move_part([image.id for image in project.images(None).items[::2]], TEST)
    own, tests = project.dataset(), project.test_dataset()
    assert tests is not None and len(own.items) == len(tests.items) == 6
    write_json(project.runs_dir / "r" / "dataset.json", {"dataset": own.to_dict(), "train": [0], "held_out": [1], "test": tests.to_dict()})
    moved = project.path.with_name("elsewhere")
    project.path.rename(moved)
    data = read_run_data(RunFolder(moved / "runs" / "r"))
    assert data.test is not None and all(Path(item.path).is_file() for item in (*data.dataset.items, *data.test.items))
    rows = [{"path": item.path, "image_id": item.image_id} for item in tests.items[1:]]  # one looked like a training picture
    assert [item.sha256 for item in data.items("test", rows)] == [item.sha256 for item in tests.items[1:]]


def test_a_run_at_the_top_of_a_disk_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Dataset(("cup",), ("a",), (Item("/gone.png", 0, sha(1), "0" * 16, "i"),))
    monkeypatch.setattr("blocklora.services.run_data.read_json", lambda path: {"dataset": gone.to_dict()})
    assert read_run_data(RunFolder(Path("/out"))).dataset == gone


def test_a_note_is_kept_changed_and_taken_away(tmp_path: Path) -> None:
    run = run_with(tmp_path / "1", right(range(6)))
    assert read_note(run) == ""
    write_note(run, f"  {NASTY}\nsecond line ")
    assert read_note(run) == f"{NASTY}\nsecond line" == Runs(tmp_path, None).summary(run.path, None).note  # type: ignore[arg-type]
    write_note(run, " ")
    assert read_note(run) == "" and not run.note_path.exists()
    with pytest.raises(JobError, match="at most"):
        write_note(run, "x" * (LONGEST + 1))
    run.note_path.write_text("{damaged")
    assert read_note(run) == ""
    with pytest.raises(JobError, match="is gone"):
        write_note(RunFolder(tmp_path / "nowhere"), "text")
    assert not (tmp_path / "nowhere").exists()


# ---- the report


def test_the_report_holds_everything_and_asks_nobody(tmp_path: Path, make_pictures: Any) -> None:
    source = sorted(make_pictures(classes=1, each=2).rglob("*.png"))
    run = run_with(tmp_path / "1", right(range(24)) | {3: 1, 4: 2}, names=(NASTY, "pen", "key"), pictures={3: source[0]})
    write_note(run, f"sent to {NASTY}")
    figure = '<svg viewBox="0 0 1 1" role="img"></svg>'
    page = write_report(run, figures=[("How sure it is", figure)]).read_text(encoding="utf-8")
    assert "<img src=x" not in page and page.count("&lt;img src=x") >= 4
    assert not re.search(r"https?://|//[a-z]|<script|<link|@import|url\(", page)
    assert "default-src 'none'" in page
    assert "<b>22 of 24</b>" in page and "expect between" in page and figure in page and "How sure it is" in page
    assert page.count('src="data:image/webp;base64,') == 1 and page.count("no longer there") == 1
    assert str(tmp_path) not in page and "Seed" in page and "Limits" in page
    assert run.spec()["data_hash"] in page


def test_a_report_without_held_out_images_promises_nothing(tmp_path: Path) -> None:
    run = run_with(tmp_path / "1", right(range(6)))
    result = run.result() or {}
    empty = report(np.zeros((0, 3)), np.zeros(0, np.int64), ("cup", "pen", "key"))
    write_json(run.result_path, {**result, "held_out": empty})
    page = write_report(run).read_text(encoding="utf-8")
    assert "Nobody knows yet how good it is" in page and "What it got wrong" not in page


def test_many_classes_are_listed_instead_of_a_table_that_does_not_fit(tmp_path: Path) -> None:
    run = run_with(tmp_path / "1", right(range(6)))
    names = tuple(f"class {number}" for number in range(40))
    values = read_json(run.dataset_path)
    values["dataset"] |= {"class_names": list(names), "class_ids": list(names)}
    write_json(run.dataset_path, values)
    labels = np.arange(6) % 3
    write_json(run.result_path, {**(run.result() or {}), "held_out": report(np.eye(40)[(labels + 1) % 40], labels, names)})
    page = write_report(run).read_text(encoding="utf-8")
    assert 'class="confusion"' not in page and "<td>class 1</td>" in page


def test_the_command_writes_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_with(tmp_path / "1", right(range(6)))
    assert main(["report", str(run.path), "--out", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").is_file() and "page.html" in capsys.readouterr().out
    assert main(["report", str(tmp_path / "nothing"), "--out", str(tmp_path / "page.html")]) == 1
    assert "is not a run" in capsys.readouterr().err
