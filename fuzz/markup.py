"""HTML and SVG as a tree: whatever stands in it as a text or an attribute is escaped, since nothing else can.

    page("Report", [element("p", "a < b", class_="note")], style="p { margin: 0 }", script="...")

Characters that do not print (controls, lone surrogates, marks that turn the writing's direction) show as their
escapes.  A page loads nothing: its policy allows the one style and the one script in it, by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import xml.etree.ElementTree as ET
from collections.abc import Iterable

__all__ = ["Child", "Element", "element", "page", "visible"]

Element = ET.Element
Child = str | Element | None | Iterable["Child"]

_NAMES = {"class_": "class", "for_": "for", "viewBox": "viewBox", "id_": "id"}


def element(tag: str, /, *children: Child, **attributes: object) -> Element:
    """An element.  Of children None is nothing and a list its members; an attribute that is None or False is left
    out, True stands alone; `stroke_width` is spelled `stroke-width`, `class_` `class`."""
    made = ET.Element(tag)
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        spelled = _NAMES.get(name) or name.replace("_", "-")
        text = (
            "" if value is True else f"{value:.2f}".rstrip("0").rstrip(".") if type(value) is float else str(value)
        )
        made.set(spelled, visible(text))
    _append(made, children)
    return made


def _append(parent: Element, child: Child) -> None:
    if child is None:
        return
    if isinstance(child, ET.Element):
        parent.append(child)
    elif isinstance(child, str):
        text = visible(child)
        if len(parent):
            parent[-1].tail = (parent[-1].tail or "") + text
        else:
            parent.text = (parent.text or "") + text
    else:
        for one in child:
            _append(parent, one)


def visible(text: str) -> str:
    """The text with everything escaped that does not print, but for line breaks."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def page(title: str, body: Iterable[Child], *, style: str, script: str) -> str:
    """A whole page.  `style` and `script` are ours; they go in as they are."""
    for code in (style, script):
        if "</" in code:
            raise ValueError("a style or script must not hold '</'")
    policy = f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; base-uri 'none'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=f"{policy}; form-action 'none'"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        _raw("style", style),
    )
    root = element("html", head, element("body", body, _raw("script", script)), lang="en")
    return f"<!DOCTYPE html>\n{ET.tostring(root, encoding='unicode', method='html')}\n"


def _raw(tag: str, code: str) -> Element:
    made = ET.Element(tag)
    made.text = code  # the serializer leaves what these two hold as it is
    return made


def _hash(code: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}"
