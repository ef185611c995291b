"""Redaction while recording: no word reaches the file, and all of them reach the host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recorder.callback import RecordingCallback
from recorder.calls import Opaque
from recorder.interface import Interface, Method, Parameter, Type
from recorder.redaction import Redaction
from recorder.session import LEAST, Bounds
from recorder.session_input import parts
from recorder.trace import read_trace
from recorder.trace_input import TraceInput

IID = "{5024A386-2D44-486A-81A8-8F0ECB6071DD}"
NAMED = Interface(
    "INamed", IID, (Method("Step", (Parameter("iid", Type.IID), Parameter("text", Type.TEXT))),), base=None
)
SECRET = "Zyxwvut"


class Shy:
    def __repr__(self) -> str:
        return f"<{SECRET}>"


class Host:
    def __init__(self) -> None:
        self.texts: list[Any] = []

    def Progress(self, text: Any, index: Any, maximum: Any) -> Any:
        self.texts.append(text)
        if index == 2:
            raise ValueError(SECRET)
        return SECRET if index == 3 else 0

    def Step(self, iid: Any, text: Any) -> int:
        return 0


@pytest.mark.parametrize("sync", [None, 0], ids=["fast", "general"])
def test_no_word_reaches_the_file_and_all_reach_the_host(tmp_path: Path, sync: float | None) -> None:
    path, host, redaction = tmp_path / "run.tape", Host(), Redaction()
    given = [SECRET, SECRET, "", None, SECRET * 300, f"\ud800{SECRET}", SECRET.encode(), Shy(), [SECRET]]
    with RecordingCallback(host, path, redact=redaction, sync=sync) as callback:
        for value in given:
            callback.Progress(value, 0, 1)
        callback.Progress("a", SECRET, {SECRET})
        callback.Progress("a", 3, 1)
        with pytest.raises(ValueError, match=SECRET):
            callback.Progress("a", 2, 1)
    assert host.texts[: len(given)] == given
    data = path.read_bytes()
    assert SECRET.encode() not in data and SECRET.encode("utf-16-le") not in data
    trace = read_trace(path)
    assert trace.header.redaction == "texts"
    texts: list[Any] = [call.args[0] for call in trace.calls]
    assert texts[0] == texts[1] == redaction.text(SECRET) and texts[2:4] == ["", None]
    assert len(texts[4]) == 2100 and texts[5] == "\ud800" + texts[0]
    assert texts[7] == Opaque("Shy", texts[7].repr) or texts[7].type != "Shy"
    last = trace.played[-1].outcome
    assert last is not None and last.detail == f"ValueError: {texts[0]}"


def test_iids_stay(tmp_path: Path) -> None:
    path = tmp_path / "run.tape"
    with RecordingCallback(Host(), path, interface=NAMED, redact=Redaction()) as callback:
        for _ in range(3):
            callback.Step(IID, SECRET)
    arguments = [call.args for call in read_trace(path).calls]
    assert len(set(arguments)) == 1 and arguments[0][0] == IID and arguments[0][1] != SECRET


def test_the_files_of_a_session_are_redacted_alike(tmp_path: Path) -> None:
    path, redaction = tmp_path / "run.tape", Redaction("strict")
    with RecordingCallback(Host(), path, redact=redaction, bounds=Bounds(LEAST)) as callback:
        for number in range(10, 6000):
            callback.Progress(SECRET, number, 1)
    assert len(parts(path)) > 1
    assert {call.args[0] for call in TraceInput(path).read().calls} == {redaction.text(SECRET)}
    headers = [read_trace(part).header for _, part in parts(path)]
    assert {header.redaction for header in headers} == {"strict"}
    assert [header.provenance["session"]["file"] for header in headers] == [number for number, _ in parts(path)]


def test_what_a_redaction_that_fails_leaves_is_no_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, host, redaction = tmp_path / "run.tape", Host(), Redaction()
    real = redaction.text

    def failing(text: str) -> str:
        if text == SECRET:
            raise RuntimeError("no")
        return real(text)

    monkeypatch.setattr(redaction, "text", failing)
    with RecordingCallback(host, path, redact=redaction) as callback:
        callback.Progress("before", 0, 1)
        with pytest.warns(RuntimeWarning, match="recording stopped"):
            callback.Progress(SECRET, 0, 1)
        callback.Progress("after", 0, 1)
    assert host.texts == ["before", SECRET, "after"]
    assert SECRET.encode() not in path.read_bytes()
