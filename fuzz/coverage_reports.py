"""Coverage of a target, for readers and for the tools that show it: text, JSON, lcov and Cobertura's XML.

A line is covered if a way from it was taken; the ways are its branches.  Paths are relative to the source root.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

from fuzz.covering import Covered, SiteSeen
from recorder.report_files import shown

__all__ = ["cobertura", "coverage_json", "lcov", "text_lines"]

Sites = list[SiteSeen]


def text_lines(covered: Covered) -> Iterator[str]:
    """A line for each file, with the ways that no trace took, and one for all."""
    width = max((len(shown(path)) for path in covered.files), default=0)
    for path, sites in sorted(covered.files.items()):
        reached = sum(site.reached for site in sites)
        missed = ", ".join(dict.fromkeys(f"{s.line} {s.way}".strip() for s in sites if not s.reached))
        line = f"{shown(path):{width}}  {reached:5} of {len(sites):5} sites  {_share(reached, len(sites)):>4}"
        yield f"{line}  missed: {missed}" if missed else line
    count = f"{covered.traces} trace{'s' * (covered.traces != 1)}"
    cut = f", {covered.cut} of them ended the process" if covered.cut else ""
    share = _share(covered.reached, covered.sites)
    yield f"{covered.reached} of {covered.sites} sites reached ({share}) by {count}{cut}"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "-"


def coverage_json(covered: Covered, spec: str) -> dict[str, Any]:
    """Everything as plain values."""
    return {
        "kind": "coverage",
        "target": spec,
        "traces": covered.traces,
        "cut": covered.cut,
        "sites": covered.sites,
        "reached": covered.reached,
        "files": [
            {
                "file": path,
                "sites": len(sites),
                "reached": sum(site.reached for site in sites),
                "missed": [{"line": site.line, "way": site.way} for site in sites if not site.reached],
            }
            for path, sites in sorted(covered.files.items())
        ],
    }


def lcov(covered: Covered) -> bytes:
    """A tracefile as lcov and genhtml read it."""
    lines: list[str] = ["TN:synctape"]
    for path, sites in sorted(covered.files.items()):
        by_line = _by_line(sites)
        lines.append(f"SF:{shown(path)}")
        for line, ways in by_line.items():
            if len(ways) > 1:
                lines += [f"BRDA:{line},0,{number},{int(way.reached)}" for number, way in enumerate(ways)]
        branches = [way for ways in by_line.values() if len(ways) > 1 for way in ways]
        lines += [f"BRF:{len(branches)}", f"BRH:{sum(way.reached for way in branches)}"]
        lines += [f"DA:{line},{int(_hit(ways))}" for line, ways in by_line.items()]
        lines += [f"LF:{len(by_line)}", f"LH:{sum(map(_hit, by_line.values()))}", "end_of_record"]
    return ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")


def cobertura(covered: Covered, timestamp: int) -> bytes:
    """Cobertura's XML, which GitLab, Azure Pipelines and Jenkins show; `timestamp`: milliseconds since 1970."""
    tables = {path: _by_line(sites) for path, sites in sorted(covered.files.items())}
    root = ET.Element("coverage", {**_rates(list(tables.values())), "version": "1", "timestamp": str(timestamp)})
    ET.SubElement(ET.SubElement(root, "sources"), "source").text = "."
    packages = ET.SubElement(root, "packages")
    package = ET.SubElement(packages, "package", {"name": "target", **_rates(list(tables.values()), short=True)})
    classes = ET.SubElement(package, "classes")
    for path, by_line in tables.items():
        name = shown(path)
        facts = {"name": name.rpartition("/")[2], "filename": name, **_rates([by_line], short=True)}
        file = ET.SubElement(classes, "class", facts)
        ET.SubElement(file, "methods")
        lines = ET.SubElement(file, "lines")
        for line, ways in by_line.items():
            ET.SubElement(lines, "line", _line(line, ways))
    ET.indent(root)
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return document


def _line(line: int, ways: Sites) -> dict[str, str]:
    facts = {"number": str(line), "hits": str(int(_hit(ways))), "branch": str(len(ways) > 1).lower()}
    if len(ways) > 1:
        reached = sum(way.reached for way in ways)
        facts["condition-coverage"] = f"{_share(reached, len(ways))} ({reached}/{len(ways)})"
    return facts


def _rates(tables: list[dict[int, Sites]], *, short: bool = False) -> dict[str, str]:
    lines = [ways for by_line in tables for ways in by_line.values()]
    branches = [way for ways in lines if len(ways) > 1 for way in ways]
    hit, taken = sum(map(_hit, lines)), sum(way.reached for way in branches)
    rates = {
        "line-rate": f"{hit / len(lines) if lines else 1:.4f}",
        "branch-rate": f"{taken / len(branches) if branches else 1:.4f}",
        "complexity": "0",
    }
    if short:
        return rates
    counts = {"lines": (hit, len(lines)), "branches": (taken, len(branches))}
    for name, (covered, valid) in counts.items():
        rates |= {f"{name}-covered": str(covered), f"{name}-valid": str(valid)}
    return rates


def _by_line(sites: Sites) -> dict[int, Sites]:
    by_line: dict[int, Sites] = {}
    for site in sorted(sites, key=lambda site: site.line):
        by_line.setdefault(site.line, []).append(site)
    return by_line


def _hit(ways: Sites) -> bool:
    return any(way.reached for way in ways)
