"""A scheduled trace as a pytest file: the same interleaving each time, red while the bug lives, green after."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from sequences import calls

from recorder.calls import Call, Header, Trace
from recorder.errors import SynctapeError
from recorder.text import from_text
from recorder.trace import write_trace
from replayer.export import Form, script_of
from replayer.export_cpp import CPP
from replayer.export_perfetto import to_perfetto
from replayer.export_pytest import PYTEST
from replayer.export_scheduled import SCHEDULED, to_scheduled_pytest
from synctape import main

ROOT = Path(__file__).parents[2]

COUNTER = """
class Host:
    def __init__(self):
        self.count = 0
        self.ended = False

    def Progress(self, text, index, maximum):
        count = self.count
        self.count = count + 1
        return 0

    def Error(self, result, text):
        return 0

    def Done(self, handle, result):
        if self.count != 2:
            raise ValueError(f"{self.count} of 2 counted")
        return 0
"""
MENDED = COUNTER.replace(
    "        count = self.count\n        self.count = count + 1\n",
    "        with self.lock:\n            count = self.count\n            self.count = count + 1\n",
).replace(
    "        self.count = 0\n",
    "        import threading\n        self.lock = threading.Lock()\n        self.count = 0\n",
)
FINDING = {"code": "X3", "oracle": "exception", "method": "Done", "message": "ValueError: 1 of 2 counted"}
LOST = ("t0 Progress(NULL, 1, 2) @2", "t1 Progress(NULL, 2, 2)", "t0 Done(NULL, S_OK)")
"""The second thread counts between the first one's load and its store."""


def scheduled(*lines: str, **provenance: object) -> Trace:
    return Trace.from_calls(calls(*lines), Header(scheduled=True, provenance=provenance))


def source(trace: Trace) -> str:
    return to_scheduled_pytest(trace, script_of(trace, SCHEDULED, "x.tape"))


def pytest_of(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_exported.py").write_text(text, "ascii")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "SYNCTAPE"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_exported.py"],
        cwd=folder,
        env={
            **kept,
            "PYTHONPATH": str(ROOT),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "SYNCTAPE_FACTORY": "host:Host",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def names_of(text: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "exported", "__file__": "exported.py"}
    exec(compile(text, "exported.py", "exec", dont_inherit=True), names)
    return names


def test_it_is_red_with_the_schedule_drawn_while_the_bug_lives_and_green_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("SYNCTAPE_FACTORY", "host:Host")
    test = names_of(source(scheduled(*LOST, finding=FINDING)))["test_replay"]
    (tmp_path / "host.py").write_text(COUNTER, "utf-8")
    with pytest.raises(pytest.fail.Exception) as failure:
        test()
    (tmp_path / "host.py").write_text(MENDED, "utf-8")
    test()
    said = str(failure.value)
    assert "X3  ValueError: 1 of 2 counted" in said and "replay it: SYNCTAPE_FACTORY=host:Host pytest" in said
    assert "gives way to t1 before step 2, host.py:9 in Progress: self.count = count + 1" in said


@pytest.mark.slow
def test_without_a_callback_it_is_red_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("SYNCTAPE_FACTORY", raising=False)
    with pytest.raises(pytest.fail.Exception, match="target your_module:YourCallback: no module"):
        names_of(source(scheduled(*LOST)))["test_replay"]()


@pytest.mark.slow
def test_pytest_runs_it_where_synctape_can_be_imported(tmp_path: Path) -> None:
    text = source(scheduled(*LOST, finding=FINDING))
    (tmp_path / "host.py").write_text(COUNTER, "utf-8")
    buggy = pytest_of(tmp_path, text)
    (tmp_path / "host.py").write_text(MENDED, "utf-8")
    mended = pytest_of(tmp_path, text)
    assert (buggy.returncode, "ValueError: 1 of 2 counted" in buggy.stdout) == (1, True), (
        buggy.stdout + buggy.stderr
    )
    assert (mended.returncode, "1 passed" in mended.stdout) == (0, True), mended.stdout + mended.stderr


def test_the_command_writes_it_and_refuses_what_cannot_follow_a_schedule(tmp_path: Path) -> None:
    tape = write_trace(scheduled(*LOST, finding=FINDING), tmp_path / "x.tape")
    written = CliRunner().invoke(main, ["export", str(tape), "--to", "pytest"])
    refused = CliRunner().invoke(main, ["export", str(tape), "--to", "cpp", "-o", str(tmp_path / "x.cpp")])
    assert written.exit_code == 0 and "t0 Progress(NULL, 1, 2) @2\nt1 Progress(NULL, 2, 2)\n" in written.output
    assert (refused.exit_code, (tmp_path / "x.cpp").exists()) == (2, False)
    assert "x.tape: its threads run at the same time by a schedule" in refused.output
    assert "use --to pytest, or synctape replay" in refused.output


def test_calls_of_iunknown_are_in_it_as_a_native_target_has_them() -> None:
    assert "t0 AddRef() @2\nt1 Release()\n" in source(scheduled("t0 AddRef() @2", "t1 Release()", finding=COUNTED))


COUNTED = {"code": "H5", "oracle": "references", "method": "", "message": "references are held"}


@pytest.mark.parametrize("form", [CPP, PYTEST])
def test_no_other_form_takes_a_schedule_for_a_plain_sequence(form: Form) -> None:
    with pytest.raises(SynctapeError, match="by a schedule, which a file for"):
        script_of(scheduled(*LOST), form, "x.tape")


@pytest.mark.parametrize("form", [CPP, PYTEST])
def test_that_calls_overlapped_when_they_were_recorded_is_said(form: Form) -> None:
    text = "synctape 1\nt0 #0 Progress(NULL, 1, 2) ...\nt1 #1 Done(NULL, S_OK) -> S_OK\n#0 -> S_OK\n"
    apart = "synctape 1\nt0 Progress(NULL, 1, 2) -> S_OK\nt1 Done(NULL, S_OK) -> S_OK\n"
    said = "Calls that overlapped in it are made one after the other here, each on its thread;"
    assert said in [*script_of(from_text(text), form, "x.tape").promise()]
    assert said not in [*script_of(from_text(apart), form, "x.tape").promise()]


ODD = {"code": "X3", "oracle": "exception", "message": "\u00e4\"\"\"'''\\", "seconds": 1.5}
TEXTS = st.text(st.characters(codec=None, exclude_categories=()), max_size=9)


@settings(max_examples=20)
@given(
    st.lists(
        st.tuples(TEXTS, st.integers(0, 3), st.lists(st.integers(-9, 99), max_size=3)), min_size=1, max_size=5
    )
)
def test_any_calls_come_back_from_the_file(given_calls: list[tuple[str, int, list[int]]]) -> None:
    made = [
        Call(
            "Progress",
            (text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass"), 1, 2),
            t,
            0,
            tuple(s),
        )
        for text, t, s in given_calls
    ]
    text = source(Trace.from_calls(made, Header(scheduled=True, provenance={"finding": ODD})))
    assert text.isascii()
    again = names_of(text)["TRACE"]
    assert isinstance(again, Trace) and again.header.scheduled
    assert list(again.calls) == made
    assert again.header.provenance["finding"] == {"code": "X3", "oracle": "exception", "message": ODD["message"]}


def test_a_timeline_shows_calls_of_a_schedule_as_they_overlapped_whatever_they_took() -> None:
    """Under a schedule a call takes as long as others are let go first: times would hide what came when."""
    trace = from_text(
        "synctape 1\nscheduled: true\n"
        "t0 #0 Progress(NULL, 1, 2) @2 ...\nt1 #1 Done(NULL, S_OK) -> S_OK 5us\n#0 -> S_OK 1s\n"
    )
    events = json.loads(to_perfetto(trace, "x.tape"))["traceEvents"]
    spans = {e["args"]["call"]: (e["ts"], e["ts"] + e["dur"]) for e in events if e["ph"] == "X"}
    assert spans == {0: (0.0, 3.0), 1: (1.0, 2.0)}
    assert [e["args"].get("switches") for e in events if e["ph"] == "X"] == [[2], None]
