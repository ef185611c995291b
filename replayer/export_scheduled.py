"""Export of a scheduled trace as a pytest file.

What runs when is counted in steps of the callback's own code, which only synctape's scheduler does.  So this file
needs synctape beside pytest; the calls stand in it in text form, to read and to change by hand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from recorder.calls import Header, Thread, Trace
from recorder.text import call_text, switches_text, text_lines
from replayer.export import Form, Script
from replayer.export_pytest import quoted
from replayer.oracles import ORACLES

__all__ = ["SCHEDULED", "to_scheduled_pytest"]

SCHEDULED: Final = Form("pytest", frozenset(ORACLES), exact=False, scheduled=True)


def to_scheduled_pytest(trace: Trace, script: Script) -> str:
    """The file's source, in ASCII; `script` is the trace's, of the form SCHEDULED."""
    parts = {
        "PROMISE": "\n".join(script.promise()),
        "FACTORY": quoted(script.spec or "your_module:YourCallback"),
        "NAME": quoted(script.name),
        "TRACE": "\n".join(_lines(trace)),
    }
    return re.sub(r"@([A-Z]+)@", lambda found: parts[found[1]], _FILE)


def _lines(trace: Trace) -> list[str]:
    """The trace in text form, in ASCII, without what came of its calls and when that was."""
    kept = trace.header.provenance.get("finding")
    finding = {name: kept[name] for name in _TOLD if name in kept} if isinstance(kept, Mapping) else None
    provenance = {"kind": "finding", "finding": finding} if finding else {}
    header = Header(trace.interface, scheduled=True, provenance=provenance)
    calls = [
        f"t{call.thread} {call_text(call, trace.interface)} {switches_text(call)}".rstrip() for call in trace.calls
    ]
    return [_ascii(line) for line in (*text_lines(header, (Thread(),), ()), *calls)]


_TOLD = ("code", "oracle", "method", "place", "message", "level", "number", "flaky")


def _ascii(line: str) -> str:
    """A line of the text form, in which all but ASCII stands in JSON's strings."""
    units = ((c, c.encode("utf-16-be", "surrogatepass")) for c in line)
    return "".join(
        c if c.isascii() else "".join(f"\\u{u[i : i + 2].hex()}" for i in range(0, len(u), 2)) for c, u in units
    )


_FILE: Final = r'''r"""@PROMISE@

Its threads run at the same time. At which steps of the callback's own code one gives way to
another is told behind each call: @3 is before its third step, @-1 where it first calls out,
for the next call of its thread. So each run has the same interleaving.

It needs pytest and synctape. Name your callback in FACTORY below, or when you run it:

    SYNCTAPE_FACTORY=package.module:Class pytest THIS_FILE

It is a class, or a function without arguments, that gives an object with the methods
of the interface. What lies beside this file or in the current folder can be imported.
"""

from __future__ import annotations

import os
import sys

import pytest

from recorder.errors import SynctapeError
from recorder.text import from_text
from replayer.isolation import open_player
from replayer.player import PlayOptions
from replayer.reports import failure_text
from replayer.verdict import Judging, Status, replay_trace

FACTORY = @FACTORY@

TRACE = from_text(
    r"""@TRACE@
"""
)


def test_replay() -> None:
    factory = os.environ.get("SYNCTAPE_FACTORY") or FACTORY
    for folder in (os.getcwd(), os.path.dirname(os.path.abspath(__file__))):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    try:
        with open_player(factory, TRACE.interface, options=PlayOptions(collect=2)) as player:
            verdict = replay_trace(TRACE, player, Judging().judge(TRACE), name=@NAME@)
    except SynctapeError as error:
        pytest.fail(str(error), pytrace=False)
    if verdict.status is Status.ERROR:
        pytest.fail(f"could not be replayed: {verdict.message}", pytrace=False)
    if verdict.status is Status.FAILED:
        pytest.fail(failure_text(verdict, f"SYNCTAPE_FACTORY={factory} pytest {__file__}"), pytrace=False)
'''
