"""JUnit XML as CI servers read it: testsuites > testsuite > testcase.  The file appears whole or not at all.

What is told of a case is escaped where it does not print, so that no text can break the XML.
"""

from __future__ import annotations

import platform
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path

from recorder.report_files import require_folder, shown, write_whole

__all__ = ["JUnitFile", "add_problem", "add_property"]


class JUnitFile:
    """One suite.  Raises SynctapeError at once if the file's folder cannot be made."""

    def __init__(self, path: str | Path, suite: str):
        self._path = require_folder(path)
        self._suite = shown(suite)
        self._began = datetime.now(UTC)
        self._cases: list[ET.Element] = []
        self._seconds = 0.0

    def case(self, classname: str, name: str, seconds: float = 0.0) -> ET.Element:
        """A new test case; passed, as long as nothing else is said of it."""
        attributes = {"classname": shown(classname), "name": shown(name), "time": f"{seconds:.3f}"}
        case = ET.Element("testcase", attributes)
        self._cases.append(case)
        self._seconds += seconds
        return case

    def write(self) -> None:
        """Write the file, over an old one.  Raises SynctapeError."""
        write_whole(self._path, self._document())

    def _document(self) -> bytes:
        counts = {
            "tests": str(len(self._cases)),
            "failures": self._count("failure"),
            "errors": self._count("error"),
            "skipped": self._count("skipped"),
            "time": f"{self._seconds:.3f}",
        }
        root = ET.Element("testsuites", {"name": "synctape", **counts})
        facts = {"timestamp": self._began.isoformat(timespec="seconds"), "hostname": shown(platform.node())}
        suite = ET.SubElement(root, "testsuite", {"name": self._suite, **counts, **facts})
        suite.extend(self._cases)
        ET.indent(root)
        document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
        return document

    def _count(self, tag: str) -> str:
        return str(sum(case.find(tag) is not None for case in self._cases))


def add_property(properties: ET.Element, name: str, value: str) -> None:
    ET.SubElement(properties, "property", {"name": name, "value": shown(value)})


def add_problem(case: ET.Element, tag: str, kind: str, message: str, body: str = "") -> None:
    """`tag` is failure or error; `body` is shown as it is."""
    ET.SubElement(case, tag, {"type": shown(kind), "message": shown(message)}).text = body
