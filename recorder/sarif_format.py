"""The parts of a SARIF 2.1.0 document that every report of ours has, and places in it below the source root."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from recorder.report_files import shown

__all__ = [
    "Location",
    "document",
    "driver",
    "invocation",
    "location",
    "message",
    "notification",
    "relative_path",
    "source_root",
]

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_ROOT = "%SRCROOT%"


@dataclass(frozen=True, slots=True)
class Location:
    """`path` is relative to the source root, with slashes; `line` counts from 1.

    `is_source`: the target's code, and not the trace that stands for it.
    """

    path: str
    line: int = 1
    is_source: bool = True


def source_root() -> Path:
    """What paths in reports are relative to: the checkout where a CI server names one, else the working folder."""
    folder, checkout = Path.cwd(), os.environ.get("GITHUB_WORKSPACE")
    if checkout and folder.resolve().is_relative_to(Path(checkout).resolve()):
        return Path(checkout)
    return folder


def relative_path(file: str | os.PathLike[str], root: Path) -> str | None:
    """The path below a resolved root, None for a file that is not there."""
    try:
        return Path(os.path.abspath(file)).resolve().relative_to(root).as_posix()
    except (OSError, ValueError):
        return None


def document(
    driver: dict[str, Any], identity: str, invocation: dict[str, Any], results: list[dict[str, Any]]
) -> bytes:
    """A file with one run; `identity` tells runs of other jobs apart."""
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": shown(identity)},
        "originalUriBaseIds": {_ROOT: {"description": message("The root of the source tree.")}},
        "invocations": [invocation],
        "results": results,
        "columnKind": "utf16CodeUnits",
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1).encode("ascii")


def driver(rules: list[dict[str, Any]]) -> dict[str, Any]:
    try:
        number = version("synctape")
    except PackageNotFoundError:
        number = "0"
    return {
        "name": "synctape",
        "semanticVersion": number,
        "shortDescription": message("Records, replays and fuzzes COM progress callbacks."),
        "rules": rules,
    }


def invocation(began: datetime, notifications: list[dict[str, Any]]) -> dict[str, Any]:
    """From when it began until now; it was successful if no notification is an error."""
    return {
        "executionSuccessful": all(told["level"] != "error" for told in notifications),
        "startTimeUtc": _utc(began),
        "endTimeUtc": _utc(datetime.now(UTC)),
        "toolExecutionNotifications": notifications,
    }


def notification(level: str, text: str, place: Location | None = None) -> dict[str, Any]:
    said: dict[str, Any] = {"level": level, "message": message(text)}
    return said if place is None else {**said, "locations": [location(place)]}


def location(place: Location) -> dict[str, Any]:
    uri = quote(os.fsencode(place.path))
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": uri, "uriBaseId": _ROOT},
            "region": {"startLine": place.line},
        }
    }


_PLACEHOLDER = re.compile(r"\{(?=\d+\})|(?<=\d)\}")
_LINK = re.compile(r"\[(?=[^\]]*\]\()")


def message(text: str) -> dict[str, str]:
    """A text in which nothing is a placeholder or a link: what a target says is no markup."""
    return {"text": _LINK.sub(r"\\[", _PLACEHOLDER.sub(lambda found: found[0] * 2, text))}


def _utc(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
