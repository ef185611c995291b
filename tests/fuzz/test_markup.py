"""HTML as a tree: nothing that goes in as a text can come out as anything else."""

from __future__ import annotations

import base64
import hashlib
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.markup import Element, element, page, visible


def html(node: Element) -> str:
    return ET.tostring(node, encoding="unicode", method="html")


def test_texts_attributes_and_children() -> None:
    made = element(
        "p",
        "a < b ",
        element("b", "& c"),
        None,
        [" d", element("br"), "e"],
        class_="x y",
        data_n=3,
        hidden=True,
        id=None,
    )
    assert html(made) == '<p class="x y" data-n="3" hidden="">a &lt; b <b>&amp; c</b> d<br>e</p>'


@given(st.text(st.characters(codec=None)) | st.from_regex(r"<[/a-z!-]{0,9}[ a-z=\"']{0,9}>"))
def test_any_text_is_read_back_as_that_text(text: str) -> None:
    seen: list[str] = []
    tags: list[str] = []

    class Reader(HTMLParser):
        def handle_data(self, data: str) -> None:
            seen.append(data)

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append(tag)
            seen.extend(value or "" for name, value in attrs if name == "title")

    Reader().feed(html(element("p", text, title=text)) + "<end>")
    assert tags == ["p", "end"]
    assert "".join(seen) == visible(text) * 2


@pytest.mark.parametrize("text", ["\ud800", "\u202e", "\0", "\x1b[31m", "\u2066", "\ufeff", "\x85", "\r"])
def test_what_does_not_print_shows(text: str) -> None:
    assert visible(f"a{text}b").startswith("a\\") and visible(f"a{text}b").isprintable()
    assert visible("a\nb") == "a\nb"


def test_a_page_allows_what_is_in_it_and_nothing_else() -> None:
    style, script = "p > a { color: red }", 'if (1 < 2 && "x") {}'
    text = page("T & U", [element("p", "x")], style=style, script=script)
    assert text.startswith("<!DOCTYPE html>\n<html") and "<title>T &amp; U</title>" in text
    assert f"<style>{style}</style>" in text and f"<script>{script}</script>" in text
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy[1].split("; "))
    assert rules["default-src"] == "'none'"
    for name, code in (("style-src", style), ("script-src", script)):
        assert rules[name] == f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"


def test_code_that_would_end_early_is_refused() -> None:
    with pytest.raises(ValueError, match="must not hold"):
        page("x", [], style="", script="'</script>'")
