"""What the sections of the report share: rows of names and values, tables, a place that scrolls, empty places."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fuzz.markup import Child, Element, element
from recorder.report_files import shown

__all__ = ["LONGEST", "empty", "rows", "scrolling", "table"]

LONGEST = 2000  # characters of one value


def rows(facts: Iterable[tuple[str, str]]) -> Element:
    """Names and values, one below the other."""
    return element(
        "dl",
        [element("div", element("dt", name), element("dd", shown(value, LONGEST))) for name, value in facts],
        class_="rows",
    )


def empty(text: str) -> Element:
    """What stands where there is nothing to show."""
    return element("p", text, class_="empty")


def scrolling(child: Element, label: str, class_: str = "") -> Element:
    """A place for what may be wider than the window; the keyboard reaches it."""
    return element("div", child, class_=f"scroll {class_}".rstrip(), tabindex=0, role="region", aria_label=label)


def table(
    head: Sequence[str], body: Iterable[Sequence[Child]], class_: str = "numbers", label: str = "Table"
) -> Element:
    """The first cell of each row names it."""
    made = element(
        "table",
        element("thead", element("tr", [element("th", name, scope="col") for name in head])),
        element(
            "tbody",
            [
                element("tr", element("th", first, scope="row"), [element("td", cell) for cell in rest])
                for first, *rest in body
            ],
        ),
        class_=class_,
    )
    return scrolling(made, label)
