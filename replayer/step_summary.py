"""Findings as a page in Markdown, for the summary of a step in GitHub Actions or any other reader.

GitHub refuses a summary of more than 1 MiB as a whole, all steps' appendices to one file together: what would lie
beyond is left out, and the page says how much that is.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from recorder.errors import SynctapeError
from recorder.report_files import require_folder, shown, write_whole
from replayer.oracles import Finding
from replayer.reports import Summary, marked_calls
from replayer.verdict import Status, Verdict

__all__ = ["MOST_BYTES", "StepSummary"]

MOST_BYTES = (1 << 20) - 1024
_ROOM = 400  # bytes for the line on what was left out
_LONGEST_CELL = 300  # characters


class StepSummary:
    """A page, written at the end.  Raises SynctapeError at once if its folder cannot be made.

    `append`: to what is there already, as GitHub's file for summaries wants it.  `facts` gives lines that are put
    below the heading.
    """

    def __init__(
        self,
        path: str | Path,
        target: str,
        command: Callable[[Verdict], str],
        *,
        append: bool = False,
        heading: str = "synctape replay",
        facts: Callable[[], Iterable[str]] = lambda: (),
        most: int = MOST_BYTES,
    ):
        self._path = require_folder(path)
        self._target = target
        self._command = command
        self._append = append
        self._heading = heading
        self._facts = facts
        self._most = most
        self._failed: list[Verdict] = []
        self._excused: list[Verdict] = []
        self._errors: list[Verdict] = []

    def verdict(self, verdict: Verdict) -> None:
        if verdict.status is Status.FAILED:
            self._failed.append(verdict)
        elif verdict.status is Status.ERROR:
            self._errors.append(verdict)
        elif verdict.excuse:
            self._excused.append(verdict)

    def end(self, summary: Summary) -> None:
        try:
            before = self._path.read_bytes() if self._append and self._path.exists() else b""
        except OSError as error:
            raise SynctapeError(f"{self._path}: cannot be read: {error.strerror or error}") from None
        page = _fitted(self._parts(summary), self._most - len(before))
        if not self._append:
            write_whole(self._path, page)
            return
        try:
            with self._path.open("ab") as file:
                file.write(page)
        except OSError as error:
            raise SynctapeError(f"{self._path}: cannot be written: {error.strerror or error}") from None

    def _parts(self, summary: Summary) -> list[str]:
        self._failed.sort(key=lambda verdict: verdict.findings[0].level)
        count = len({f.fingerprint for v in self._failed for f in v.findings})
        said = f"{count} finding{'s' * (count != 1)}" if count else "nothing found"
        if summary.stopped:
            said += f"; did not end: {shown(summary.stopped)}"
        head = [f"## {self._heading}: {_escaped(self._target)}", "", f"**{_escaped(said)}**", ""]
        head += [f"{_escaped(line)}  " for line in self._facts()]
        parts = ["\n".join(head) + "\n\n"]
        rows = [_row(finding, verdict) for verdict in self._failed for finding in verdict.findings]
        if rows:
            parts += _table(("code", "blame", "method", "place", "message", "trace"), rows)
        if self._excused:
            rows = [(_codes(v), shown(v.excuse), shown(v.name)) for v in self._excused]
            parts += ["### Does not count\n\n", *_table(("code", "why", "trace"), rows)]
        if self._errors:
            rows = [(shown(v.name), shown(v.message)) for v in self._errors]
            parts += ["### Could not be replayed\n\n", *_table(("trace", "why"), rows)]
        return parts + [self._told(verdict) for verdict in self._failed]

    def _told(self, verdict: Verdict) -> str:
        """A failed trace, to be opened by a click: its calls, and how to replay it."""
        lines = [shown(finding.message) for finding in verdict.findings]
        if verdict.run is not None:
            lines += ["", *marked_calls(verdict.run, [finding.number for finding in verdict.findings])]
        lines += ["", f"replay it: {self._command(verdict)}"]
        title = html.escape(f"{_codes(verdict)} {shown(verdict.name)}")
        block = _fenced("\n".join(lines))
        return f"<details><summary>{title}</summary>\n\n{block}\n\n</details>\n\n"


def _row(finding: Finding, verdict: Verdict) -> tuple[str, ...]:
    return (
        finding.code,
        finding.blame,
        finding.method,
        finding.place,
        finding.message,
        verdict.path.as_posix() if verdict.path else verdict.name,
    )


def _codes(verdict: Verdict) -> str:
    return ", ".join(dict.fromkeys(finding.code for finding in verdict.findings))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """One part for the head and the first row, one for each other row, and an empty line."""
    lines = [f"| {' | '.join(_escaped(shown(cell, _LONGEST_CELL)) for cell in row)} |\n" for row in rows]
    return [f"| {' | '.join(head)} |\n|{' --- |' * len(head)}\n" + lines[0], *lines[1:], "\n"]


_MARKUP = re.compile(r"[\\`*_{}\[\]<>#|~@]|://")


def _escaped(text: str) -> str:
    """Text that is no markup: what a target says neither formats the page, nor mentions or links anything."""
    return _MARKUP.sub(lambda found: "".join(f"&#{ord(character)};" for character in found[0]), text)


def _fenced(text: str) -> str:
    """A code block whose fence is longer than any in the text."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}text\n{text}\n{fence}"


def _fitted(parts: Sequence[str], most: int) -> bytes:
    """As many of the parts, from the first on, as there is room for."""
    page, kept = bytearray(), 0
    for part in parts:
        data = part.encode("utf-8", "backslashreplace")
        last = kept == len(parts) - 1
        if len(page) + len(data) + (0 if last else _ROOM) > most:
            break
        page += data
        kept += 1
    if kept < len(parts):
        note = f"\n\n**Left out: {len(parts) - kept} of {len(parts)} parts of this page, for its size.**\n"
        page += note.encode()[: max(most - len(page), 0)]
    return bytes(page)
