"""The target's source as the report shows it, with the lines that ran and the ways that were never taken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fuzz.coverage import CoveredFile
from fuzz.covered_lines import Line, covered_lines, ranges
from fuzz.html_parts import empty, scrolling
from fuzz.markup import Child, Element, element
from recorder.report_files import shown

__all__ = ["source_section"]

_MOST_LINES = 40_000  # in all
_MOST_LINKS = 40
_MARKS = {"hit": "✓", "partial": "◐", "missed": "✗"}


def source_section(files: Sequence[CoveredFile]) -> Iterator[Child]:
    """Each file, folded, the one with most sites missed first."""
    yield element(
        "p",
        "A site is a way that a branch can go. ✓ a line ran, ◐ it ran and never went one of its ways, ✗ it never "
        "ran.",
        class_="lead",
    )
    room = _MOST_LINES
    for number, file in enumerate(sorted(files, key=lambda f: (-len(f.missed), f.name))):
        lines = file.source.splitlines()
        room -= len(lines)
        yield _file(file, lines if room >= 0 else None, number)


def _file(file: CoveredFile, lines: Sequence[str] | None, number: int) -> Element:
    hit, total = len(file.hit), len(file.hit) + len(file.missed)
    share = hit / total if total else 1.0
    summary = element(
        "summary",
        element("span", file.name, class_="file"),
        element("meter", f"{share:.0%}", min=0, max=1, value=share, aria_label="share of sites reached"),
        element("span", f"{share:.0%}", class_="share"),
        element("span", f"{hit:,} of {total:,} sites", class_="where"),
    )
    body: list[Child] = [empty("Its lines are left out: there is too much source in all.")]
    if lines is not None:
        known = covered_lines(file)
        body = [_links(known, number), scrolling(_table(lines, known, number), file.name, "lines")]
    return element("details", summary, body, class_="source")


def _links(known: Mapping[int, Line], file: int) -> Element | None:
    """To the lines that were missed, or went not all ways."""
    spans = ranges(known, ("missed", "partial"))
    if not spans:
        return None
    links: list[Child] = []
    for first, last in spans[:_MOST_LINKS]:
        text = str(first) if first == last else f"{first}–{last}"
        links += [", " if links else "", element("a", text, href=f"#line-{file}-{first}")]
    more = f" and {len(spans) - _MOST_LINKS} more places" if len(spans) > _MOST_LINKS else ""
    return element("p", "Not all of it ran: ", links, more, class_="links")


def _table(lines: Sequence[str], known: Mapping[int, Line], file: int) -> Element:
    return element("table", [_row(n, text, known.get(n), f"line-{file}-{n}") for n, text in enumerate(lines, 1)])


def _row(number: int, text: str, line: Line | None, name: str) -> Element:
    kind = line.kind if line else None
    note = f"never: {', '.join(line.missed)}" if line and line.missed else ""
    code = element("code", shown(text.expandtabs(4), 1000))
    return element(
        "tr",
        element("td", class_="n", data_n=number),
        element("td", class_="m", data_m=_MARKS.get(kind or "", ""), title=kind),
        element("td", code, element("i", note) if note else None),
        class_=kind,
        id=name if kind in ("missed", "partial") else None,
    )
