"""The pieces of HTML: text is escaped in every one of them, whatever it holds."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from blocklora.errors import ProjectError
from blocklora.ui import html
from blocklora.ui.forms import Act, failure, notice

EVIL = "<img src=x onerror=alert(1)>\"'`${1+1}&amp;"


class Reader(HTMLParser):
    """Collects tags, attributes and text as a browser would read them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: dict[str, str | None] = {}
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.update(attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


PIECES = {
    "button": html.button(EVIL, EVIL, kind=EVIL, icon_name=EVIL, data_name=EVIL),
    "local_button": html.local_button(EVIL, EVIL, data_name=EVIL),
    "icon_button": html.icon_button(EVIL, EVIL, act=EVIL, data_name=EVIL),
    "badge": html.badge(EVIL),
    "note": html.note(EVIL, EVIL),
    "card": html.card(title=EVIL, kind=EVIL),
    "empty_state": html.empty_state(EVIL, EVIL, icon_name=EVIL),
    "table": html.table([EVIL], []),
    "notice": notice(EVIL, EVIL),
    "failure": failure(ProjectError(EVIL, EVIL)),
}


@pytest.mark.parametrize("piece", PIECES)
def test_text_stays_text(piece: str) -> None:
    read = Reader(PIECES[piece])
    assert "img" not in read.tags
    assert "onerror" not in read.attributes
    assert "<img" not in PIECES[piece]


def test_text_comes_out_as_it_went_in() -> None:
    assert Reader(html.badge(EVIL)).text == EVIL
    assert Reader(html.button(EVIL, "act", data_name=EVIL)).attributes["data-name"] == EVIL


def test_attributes_of_every_kind() -> None:
    assert html.attrs(data_x="1", hidden=True, disabled=False, title=None) == ' data-x="1" hidden'
    assert Reader("<p" + html.attrs(data_list=[1, 'a"b']) + ">").attributes == {"data-list": '[1, "a\\"b"]'}


@pytest.mark.parametrize(("count", "words"), [(0, "0 pictures"), (1, "1 picture"), (12000, "12,000 pictures")])
def test_plural(count: int, words: str) -> None:
    assert html.plural(count, "picture") == words


def test_pager_has_no_buttons_where_one_page_is_all() -> None:
    assert html.pager(0, 1, "cards") == ""
    first = html.pager(0, 3, "cards")
    assert "1 of 3" in first
    assert first.count(" disabled") == 1


def test_act_reads_only_what_fits() -> None:
    act = Act("x", {"n": "7", "minus": -3, "text": "a" * 9000, "list": ["a", 2], "dict": {"n": 1}, "none": None})
    assert (act.number("n"), act.number("minus"), act.number("text", 5), act.number("missing", 2)) == (7, 0, 5, 2)
    assert len(act.text("text")) == 4000
    assert (act.text("dict"), act.text("none", "?"), act.text("missing")) == ("", "?", "")
    assert act.texts("list") == ["a", "2"]
    assert act.texts("text") == []
    assert act.inner("dict").number("n") == 1
    assert act.inner("text").data == {}


def test_bug_shows_no_inner_words(caplog: pytest.LogCaptureFixture) -> None:
    shown = failure(KeyError("secret"))
    assert "secret" not in shown
    assert "studio.log" in shown
    assert caplog.records[0].exc_info is not None
