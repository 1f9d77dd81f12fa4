"""Our own addresses beside Gradio's: style, pictures, downloads. Pictures go by the ids of the store, never by path."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, Response

from blocklora.errors import StudioError
from blocklora.ui.downloads import Downloads
from blocklora.ui.page import TITLE
from blocklora.ui.theme import STYLE, TOKENS, stylesheet

if TYPE_CHECKING:
    from blocklora.projects.library import Library

ID = re.compile(r"[A-Za-z0-9_-]{1,80}")
FOR_EVER = {"cache-control": "private, max-age=31536000, immutable"}
FOR_A_WHILE = {"cache-control": "private, max-age=3600"}
STATIC = {
    "icons.svg": "image/svg+xml",
    "icon.svg": "image/svg+xml",
    "icon-192.png": "image/png",
    "icon-512.png": "image/png",
    "fonts/inter-latin-wght-normal.woff2": "font/woff2",
    "fonts/inter-latin-ext-wght-normal.woff2": "font/woff2",
}


def script() -> bytes:
    """Our scripts as one file, in the order of their names."""
    return b"\n".join(path.read_bytes() for path in sorted((STYLE / "js").glob("*.js")))


@lru_cache(maxsize=1)
def _bundle() -> dict[str, tuple[bytes, str]]:
    return {"studio.css": (stylesheet(), "text/css; charset=utf-8"), "studio.js": (script(), "text/javascript; charset=utf-8")}


def version() -> str:
    """Changes when style or script change, so that browsers fetch them again."""
    return hashlib.sha256(b"".join(data for data, _ in _bundle().values())).hexdigest()[:12]


def manifest() -> bytes:
    """The web app manifest: installable, standalone."""
    icons = [
        {"src": f"/studio/icon-{side}.png", "sizes": f"{side}x{side}", "type": "image/png", "purpose": "any maskable"}
        for side in (192, 512)
    ]
    icons.append({"src": "/studio/icon.svg", "sizes": "any", "type": "image/svg+xml", "purpose": "any"})
    background = TOKENS["bg"][0]
    about = {"name": TITLE, "short_name": "Studio", "id": "/", "start_url": "/", "scope": "/", "display": "standalone"}
    return json.dumps(about | {"background_color": background, "theme_color": background, "icons": icons}).encode()


def add_style(app: FastAPI) -> None:
    """Style, script, fonts, icons and the manifest: the same for everybody, so no log-in is needed for them."""

    @app.get("/studio/{name:path}", include_in_schema=False)
    def studio_file(name: str) -> Response:
        if name in _bundle():
            data, kind = _bundle()[name]
            return Response(data, media_type=kind, headers=FOR_EVER)
        if name not in STATIC:
            raise HTTPException(404)
        return FileResponse(STYLE / name, media_type=STATIC[name], headers=FOR_A_WHILE)

    @app.get("/manifest.json", include_in_schema=False)
    def manifest_file() -> Response:
        return Response(manifest(), media_type="application/manifest+json", headers=FOR_A_WHILE)

    @app.get("/favicon.ico", include_in_schema=False)
    def favicon() -> Response:
        return FileResponse(STYLE / "icon-192.png", media_type="image/png", headers=FOR_A_WHILE)


def add_files(app: FastAPI, library: Library, downloads: Downloads, logged_in: Callable[[Request], bool]) -> None:
    """Pictures of projects and finished downloads, for who is logged in."""

    def check(request: Request, *ids: str) -> None:
        if not logged_in(request):
            raise HTTPException(401)
        if not all(ID.fullmatch(value) for value in ids):
            raise HTTPException(404)

    @app.get("/media/{project}/{kind}/{image}", include_in_schema=False)
    def picture(request: Request, project: str, kind: str, image: str) -> Response:
        check(request, image)
        if kind not in ("thumb", "view"):
            raise HTTPException(404)
        try:
            owner = library.open(project)  # which judges the id: any plain name of a folder may be one
            path = owner.thumbnail(image) if kind == "thumb" else owner.view(image)
        except StudioError:
            raise HTTPException(404) from None
        return FileResponse(path, headers=FOR_EVER)

    @app.get("/download/{token}/{name}", include_in_schema=False)
    def download(request: Request, token: str, name: str) -> Response:
        check(request, token)
        offer = downloads.find(token)
        if offer is None:
            raise HTTPException(404, "This download is no longer on offer. Go back to the page and make it again.")
        return FileResponse(offer.path, filename=offer.filename, media_type="application/octet-stream")


def thumb_url(project_id: str, image_id: str) -> str:
    """The address of a picture's small copy."""
    return f"/media/{quote(project_id, safe='')}/thumb/{quote(image_id, safe='')}"


def view_url(project_id: str, image_id: str) -> str:
    """The address of a picture's larger copy (long side at most 1024 pixels)."""
    return f"/media/{quote(project_id, safe='')}/view/{quote(image_id, safe='')}"
