"""What the server refuses: other pages, other names, other routes, other files."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import httpx
import pytest
from PIL import Image
from ui_window import Served

from blocklora.errors import ConfigError
from blocklora.projects import intake
from blocklora.projects.project import Project
from blocklora.ui import server
from blocklora.ui.routes import thumb_url, view_url
from blocklora.ui.rules import HEADERS, Hosts, foreign_files, is_loopback, known_route, same_origin

# ---- rules, one by one


@pytest.mark.parametrize(
    ("bind", "header", "allowed"),
    [
        ("127.0.0.1", "127.0.0.1:7860", True),
        ("127.0.0.1", "localhost:7860", True),
        ("127.0.0.1", "[::1]:7860", True),
        ("127.0.0.1", "LOCALHOST", True),
        ("127.0.0.1", "evil.example:7860", False),
        ("127.0.0.1", "127.0.0.1.evil.example", False),
        ("127.0.0.1", "192.168.1.7:7860", False),
        ("127.0.0.1", "", False),
        ("127.0.0.1", "localhost@evil.example", False),
        ("0.0.0.0", "192.168.1.7:7860", True),
        ("0.0.0.0", "localhost", True),
        ("0.0.0.0", "evil.example", False),
    ],
)
def test_host_names(bind: str, header: str, allowed: bool) -> None:
    assert Hosts.of(bind).allow(header) is allowed


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("http://127.0.0.1:7860", "127.0.0.1:7860", True),
        ("http://localhost", "localhost:80", True),
        ("http://127.0.0.1:7861", "127.0.0.1:7860", False),
        ("http://localhost:7860", "127.0.0.1:7860", False),
        ("https://evil.example", "127.0.0.1:7860", False),
        ("null", "127.0.0.1:7860", False),
        ("file://127.0.0.1:7860", "127.0.0.1:7860", False),
        ("", "127.0.0.1:7860", False),
    ],
)
def test_origin_is_the_host_itself(origin: str, host: str, same: bool) -> None:
    assert same_origin(origin, host) is same


@pytest.mark.parametrize(
    "path", ["/", "/config", "/gradio_api/queue/join", "/gradio_api/call/predict", "/studio/studio.js", "/assets/a.js"]
)
def test_routes_of_the_window(path: str) -> None:
    assert known_route(path)


@pytest.mark.parametrize(
    "path",
    [
        *("/gradio_api/proxy=https://x.hf.space/", "/gradio_api/runs", "/gradio_api/vibe-code/", "/monitoring", "/docs", "/openapi.json"),
        *("/gradio_api/file=https://evil.example/x", "/gradio_api/file=/tmp/a.png", "/gradio_api/run/predict"),
        *("/gradio_api/call/other", "/gradio_api/component_server", "/gradio_api/deep_link", "/gradio_api/dev/reload", "/app.py"),
    ],
)
def test_routes_that_do_not_exist(path: str) -> None:
    assert not known_route(path)


def test_file_references_must_be_uploads(tmp_path: Path) -> None:
    inside = tmp_path / "a" / "x.png"
    call = {"data": [{"path": str(inside)}, [{"deep": {"path": "https://evil.example/x.png"}}], {"path": "/etc/passwd"}, {"path": ""}]}
    assert list(foreign_files(call, tmp_path)) == ["https://evil.example/x.png", "/etc/passwd"]
    assert list(foreign_files({"path": str(tmp_path / ".." / "x")}, tmp_path)) != []
    assert list(foreign_files({"path": "a\0b"}, tmp_path)) == ["a\0b"]


@pytest.mark.parametrize(
    ("host", "loopback"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("studio.local", False)]
)
def test_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


# ---- the server as it runs


def test_foreign_origin_is_refused_and_own_is_not(window: Served) -> None:
    assert window.get("/", origin="https://evil.example").status_code == 403
    assert window.post("/gradio_api/queue/join", {}, origin="https://evil.example").status_code == 403
    assert window.get("/", origin=window.url).status_code == 200
    assert window.get("/").status_code == 200


def test_rebound_host_is_refused(window: Served) -> None:
    answer = window.get("/", host="evil.example")
    assert answer.status_code == 400
    assert "content-security-policy" in answer.headers


def test_other_pages_cannot_even_embed(window: Served) -> None:
    assert window.get("/studio/icon.svg", **{"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}).status_code == 403
    assert window.get("/", **{"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}).status_code == 200


def test_every_answer_carries_the_headers(window: Served) -> None:
    for path in ("/", "/config", "/studio/studio.css", "/nothing-here"):
        answer = window.get(path)
        for name, value in HEADERS.items():
            assert answer.headers[name] == value, path


def test_page_asks_nobody_else_for_anything(window: Served) -> None:
    page = window.get("/").text
    head = page[: page.index("window.gradio_config")]
    assert "https://" not in head
    assert "fonts.googleapis" not in page
    assert "fonts.googleapis" not in window.get("/theme.css").text


@pytest.mark.parametrize("path", ["/etc/passwd", "app.py", "../../etc/passwd", "%2fetc%2fpasswd", "//etc/passwd"])
def test_files_of_the_machine_are_not_served(window: Served, path: str) -> None:
    assert window.get(f"/gradio_api/file={path}").status_code in (403, 404)


def test_own_code_and_data_are_not_served(window: Served, project: Project) -> None:
    for path in (Path(server.__file__), project.path / "project.sqlite", window.home / "logs" / "studio.log"):
        assert window.get(f"/gradio_api/file={path}").status_code == 404


def test_uploads_are_never_served_as_they_came(window: Served) -> None:
    """An original may hold anything; what a browser sees of a picture is a copy made by the studio."""
    sent = httpx.post(f"{window.url}/gradio_api/upload", files={"files": ("a.svg", b"<svg/>")}, headers={"origin": window.url})
    (path,) = sent.json()
    assert Path(path).read_bytes() == b"<svg/>"
    assert window.get(f"/gradio_api/file={path}").status_code == 404


def test_calls_with_addresses_or_paths_are_refused(window: Served) -> None:
    for path in ("https://evil.example/x.png", "/etc/passwd"):
        call = {"fn_index": 0, "session_hash": "s", "data": [{"path": path, "meta": {"_type": "gradio.FileData"}}]}
        answer = window.post("/gradio_api/queue/join", call, origin=window.url)
        assert answer.status_code == 400, answer.text
    assert "address" in window.post("/gradio_api/queue/join", {"data": [{"path": "http://a.example"}]}, origin=window.url).text


def test_oversized_and_broken_calls_are_refused(window: Served) -> None:
    post = httpx.post(window.url + "/gradio_api/queue/join", content=b"x" * (32 * 2**20 + 1), headers={"origin": window.url}, timeout=60)
    assert post.status_code == 413
    assert httpx.post(window.url + "/gradio_api/queue/join", content=b"{", headers={"origin": window.url}, timeout=60).status_code == 400


def config(served: Served) -> dict[str, object]:
    return json.loads(served.get("/config").text)


def test_programs_may_not_call_the_handlers_of_the_page(window: Served) -> None:
    calls = config(window)["dependencies"]
    assert isinstance(calls, list)
    private = [call for call in calls if call["api_visibility"] != "public"]
    assert private
    for call in private:
        body = {"fn_index": call["id"], "session_hash": "s", "data": []}
        assert window.post("/gradio_api/queue/join", body).status_code == 403, call
    assert {call["api_name"] for call in calls if call["api_visibility"] == "public"} == {"predict"}


def test_only_predict_is_documented(window: Served) -> None:
    assert set(window.get("/gradio_api/info").json()["named_endpoints"]) == {"/predict"}


def test_predict_takes_no_addresses_and_no_paths(window: Served) -> None:
    for path in ("https://evil.example/x.png", "/etc/passwd", str(window.home / "logs" / "studio.log")):
        body = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}, ""]}
        assert window.post("/gradio_api/call/predict", body).status_code == 400


def test_gradio_client_reaches_the_documented_call(window: Served, project: Project, tmp_path: Path) -> None:
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    picture = tmp_path / "picture.png"
    Image.new("RGB", (64, 48), (10, 120, 200)).save(picture)
    client = Client(window.url, verbose=False)
    try:
        # The answer is the handler's own: nothing was trained. So the call went all the way through the door.
        with pytest.raises(AppError, match="no finished training yet"):
            client.predict(image=handle_file(str(picture)), project=project.name, api_name="/predict")
    finally:
        client.close()


def test_uploads_have_a_cap(window: Served) -> None:
    assert 0 < config(window)["max_file_size"] <= 4 * 2**30  # type: ignore[operator]


# ---- pictures and downloads


def add_picture(project: Project, tmp_path: Path) -> str:
    file = tmp_path / "picture.png"
    Image.new("RGB", (300, 200), (200, 30, 30)).save(file)
    plan = intake.plan_files(project, [file], class_name="red")
    return intake.accept(project, plan).image_ids[0]


def test_pictures_go_by_id_and_are_re_encoded(window: Served, project: Project, tmp_path: Path) -> None:
    image = add_picture(project, tmp_path)
    for kind in ("thumb", "view"):
        answer = window.get(f"/media/{project.id}/{kind}/{image}")
        assert answer.status_code == 200
        assert answer.content != project.original(image).read_bytes()
        assert Image.open(io.BytesIO(answer.content)).size[0] <= 1024
    assert window.get(f"/media/{project.id}/original/{image}").status_code == 404
    assert window.get(f"/media/{project.id}/thumb/i_nothing").status_code == 404
    assert window.get(f"/media/..%2f..%2fetc/thumb/{image}").status_code == 404
    copied = project.path.with_name("Äpfel 1.2 – copy")  # as a file manager names a copy; any plain name of a folder is an id
    shutil.copytree(project.path, copied)
    assert window.get(thumb_url(copied.name, image)).content == window.get(thumb_url(project.id, image)).content
    assert window.get(view_url(copied.name, image)).status_code == 200


def test_downloads_are_only_what_was_offered(window: Served) -> None:
    assert window.get("/download/nothing/x.zip").status_code == 404
    assert window.get("/download/..%2f..%2fapp.py/x").status_code == 404


# ---- with a password


def test_password_guards_everything_but_the_look(locked_window: Served) -> None:
    for path in ("/config", "/gradio_api/info", "/media/a/thumb/b", "/download/a/b"):
        assert locked_window.get(path).status_code == 401, path
    assert locked_window.post("/gradio_api/queue/join", {"data": []}, origin=locked_window.url).status_code == 401
    assert locked_window.get("/studio/studio.css").status_code == 200
    page = locked_window.get("/")
    assert page.status_code == 200
    assert '"auth_required":true' in page.text


def test_password_opens_it(locked_window: Served) -> None:
    with httpx.Client(base_url=locked_window.url, timeout=60) as client:
        assert client.post("/login", data={"username": "ada", "password": "wrong"}).status_code == 400
        assert client.post("/login", data={"username": "ada", "password": "lovelace"}).status_code == 200
        assert client.get("/config").status_code == 200
        assert client.get("/media/nowhere/thumb/b").status_code == 404


# ---- the command line


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "::"])
def test_open_bind_needs_a_password(host: str) -> None:
    with pytest.raises(ConfigError, match="password"):
        server.parse(["--host", host])
    assert server.parse(["--host", host, "--auth", "a:b"]).auth == ("a", "b")


@pytest.mark.parametrize("auth", ["ada", "ada:", ":secret", ""])
def test_half_a_password_is_none(auth: str) -> None:
    with pytest.raises(ConfigError, match="name and a password"):
        server.parse(["--auth", auth])


def test_password_may_hold_colons() -> None:
    assert server.parse(["--auth", "ada:a:b"]).auth == ("ada", "a:b")


def test_home_is_the_option_then_the_environment(data_home: Path, tmp_path: Path) -> None:
    assert server.parse([]).home == data_home
    assert server.parse(["--home", str(tmp_path)]).home == tmp_path


def test_taken_port_is_refused_and_the_default_moves_on() -> None:
    with server.listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigError, match=str(port)):
            server.listen("127.0.0.1", port)
    with server.listen("127.0.0.1", None) as one, server.listen("127.0.0.1", None) as two:
        assert one.getsockname()[1] < two.getsockname()[1]


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:7860"),
        ("0.0.0.0", "http://127.0.0.1:7860"),
        ("::", "http://[::1]:7860"),
        ("::1", "http://[::1]:7860"),
    ],
)
def test_address_to_type(host: str, url: str) -> None:
    assert server.address(host, 7860) == url
