"""The first page: Gradio's index with our head in it, so that it is dressed before any script has run."""

from __future__ import annotations

import re

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TITLE = "Block-LoRA Studio"

# The dark half is chosen before the first paint: the person's choice where there is one, else the system's.
EARLY = """
(() => {
  let kept = null;
  try {
    kept = localStorage.getItem("studio-theme");
  } catch {} // a person may let no site keep anything
  const dark = kept ? kept === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.classList.toggle("dark", dark);
})();
"""

# Gradio's index describes itself to link previews by an address on the web; the page needs none of that.
PREVIEWS = re.compile(rb'<meta\s+(?:property="og:|name="twitter:)[^>]*/?>')


def head(version: str) -> bytes:
    """What goes at the top of <head>; `version` makes browsers fetch changed files."""
    return f"""<title>{TITLE}</title>
<meta name="description" content="Few-shot image classifiers, trained and used on this machine.">
<meta name="theme-color" content="#faf9f7" media="(prefers-color-scheme: light)">
<meta name="theme-color" content="#121413" media="(prefers-color-scheme: dark)">
<link rel="icon" href="/studio/icon.svg" type="image/svg+xml">
<link rel="apple-touch-icon" href="/studio/icon-192.png">
<link rel="preload" href="/studio/fonts/inter-latin-wght-normal.woff2" as="font" type="font/woff2" crossorigin>
<link rel="stylesheet" href="/studio/studio.css?{version}">
<script>{EARLY}</script>
<script src="/studio/studio.js?{version}" defer></script>
""".encode()


class DressedPage:
    """ASGI layer that puts `head` into the page at "/"."""

    def __init__(self, app: ASGIApp, version: str) -> None:
        self.app, self.head = app, head(version)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        plain = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
        start: Message = {}
        parts: list[bytes] = []

        async def collect(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            if message["type"] != "http.response.body":
                return
            parts.append(message.get("body", b""))
            if message.get("more_body"):
                return
            body = b"".join(parts)
            headers = MutableHeaders(raw=start["headers"])
            if headers.get("content-type", "").startswith("text/html"):
                body = PREVIEWS.sub(b"", body).replace(b"<head>", b"<head>\n" + self.head, 1)
                headers["content-length"] = str(len(body))
                headers["cache-control"] = "no-store"
            await send(start)
            await send({"type": "http.response.body", "body": body})

        await self.app({**scope, "headers": plain}, receive, collect)
