"""The window as a web application: Gradio's page, our addresses beside it, and the door in front of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from fastapi import FastAPI, Request
from starlette.routing import Mount

from blocklora.ui import routes, shell
from blocklora.ui.downloads import Downloads
from blocklora.ui.page import TITLE, DressedPage
from blocklora.ui.rules import PUBLIC_CALLS, Hosts, is_loopback
from blocklora.ui.security import Door
from blocklora.ui.theme import gradio_theme
from blocklora.ui.uploads import MAX_FILE

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from blocklora.services.studio import Studio


@dataclass(frozen=True)
class Window:
    """The application, and what to call when the end is near (so that open streams close at once)."""

    app: ASGIApp
    stopping: Callable[[], None]


def build(studio: Studio, host: str, uploads: Path, auth: tuple[str, str] | None = None) -> Window:
    """Everything that is served, as one ASGI application.

    Args:
        studio: the services.
        host: the address that is listened on; it decides which names are answered to.
        uploads: the folder that uploads land in.
        auth: name and password to ask for, or None.
    """
    downloads = Downloads()
    blocks = shell.build(studio, downloads, local=is_loopback(host))
    app = FastAPI(title=TITLE, openapi_url=None, docs_url=None, redoc_url=None)
    routes.add_style(app)

    def logged_in(request: Request) -> bool:
        if auth is None:
            return True
        names = (f"access-token-{page.cookie_id}", f"access-token-unsecure-{page.cookie_id}")
        return any(request.cookies.get(name) in page.tokens for name in names)

    routes.add_files(app, studio.library, downloads, logged_in)
    gr.mount_gradio_app(
        app,
        blocks,
        "/",
        auth=auth,
        auth_message="This window asks for a name and a password." if auth else None,
        theme=gradio_theme(),
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=MAX_FILE,
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=True,
    )
    # Gradio holds file references against its upload folder only once it takes itself for launched, which mounting leaves out.
    blocks.has_launched = True
    page: Any = next(route.app for route in app.routes if isinstance(route, Mount))

    def public(number: int) -> bool:
        call = blocks.fns.get(number)
        return call is not None and call.api_name in PUBLIC_CALLS and call.api_visibility == "public"

    return Window(Door(DressedPage(app, routes.version()), Hosts.of(host), uploads, public), page.stop_event.set)
