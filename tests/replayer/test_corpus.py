"""Folders of traces: each file once, in order; whatever is wrong with a path is told in a line."""

from __future__ import annotations

from pathlib import Path

import msgpack
import pytest
from sequences import CALLBACK, GOOD, save, trace

from recorder.calls import Trace
from recorder.errors import SynctapeError, TraceError
from recorder.interface import Interface
from recorder.interfaces import IUNKNOWN
from recorder.text import to_text
from recorder.trace import dump_trace
from replayer.corpus import find_traces, load, recorded_interface

OTHER = Interface("IOther", "{0002031f-0000-0000-c000-0000000000aa}", (), base=IUNKNOWN)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for name in ("b", "a", "deep/er/c"):
        save((tmp_path / name).parent, Path(name).name, trace(*GOOD))
    (tmp_path / "README.md").write_text("not a trace")
    return tmp_path


def test_a_folder_gives_its_traces_and_those_below_sorted(corpus: Path) -> None:
    assert find_traces([corpus]) == [corpus / "a.tape", corpus / "b.tape", corpus / "deep/er/c.tape"]


def test_each_trace_comes_once(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(corpus)
    found = find_traces([corpus, "deep", corpus / "deep" / ".." / "b.tape", "a.tape"])
    assert [path.name for path in found] == ["a.tape", "b.tape", "c.tape"] or len(found) == 3


def test_a_named_file_needs_no_suffix(corpus: Path) -> None:
    renamed = (corpus / "a.tape").rename(corpus / "a.recording")
    assert find_traces([str(renamed)]) == [renamed]


def test_no_paths_are_no_traces() -> None:
    assert find_traces([]) == []


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere", "nowhere: no such file or folder"),
        ("empty", "empty: no .tape files in this folder or below it"),
        ("README.md", "README.md: is not a synctape trace"),
        ("data.json", "data.json: is not a synctape trace (it looks like JSON)"),
        ("nothing", "nothing: is empty or ends inside its header; not a trace"),
    ],
)
def test_a_path_without_traces_is_told_in_a_line(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, path: str, message: str
) -> None:
    (corpus / "empty").mkdir()
    (corpus / "data.json").write_text('{"calls": []}')
    (corpus / "nothing").touch()
    monkeypatch.chdir(corpus)
    with pytest.raises(SynctapeError) as refused:
        find_traces([corpus, path])
    assert str(refused.value) == message


# ---------------------------------------------------------------------------------------------------- loading


def test_loading_gives_what_was_written(corpus: Path) -> None:
    assert load(corpus / "a.tape").calls == trace(*GOOD).calls


def test_a_damaged_trace_gives_what_is_sound_and_one_line(tmp_path: Path) -> None:
    path, lines = tmp_path / "night.tape", list[str]()
    path.write_bytes(dump_trace(trace(*GOOD))[:-20])
    damaged = load(path, lines.append)
    assert damaged.damage is not None
    assert damaged.calls == trace(*GOOD).calls[: len(damaged.calls)]
    assert lines == [f"{path}: {damaged.damage}; the {len(damaged.calls)} calls before it are read"]


def test_without_a_listener_the_line_goes_to_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "night.tape"
    path.write_bytes(dump_trace(trace(*GOOD))[:-20])
    load(path)
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith(f"synctape: warning: {path}: ") and said.err.count("\n") == 1


def test_the_text_form_loads_too(tmp_path: Path) -> None:
    path = tmp_path / "report.txt"
    path.write_text(to_text(trace(*GOOD)), encoding="utf-8")
    assert find_traces([path]) == [path]
    assert load(path).calls == trace(*GOOD).calls


def newer() -> bytes:
    return b"".join(map(msgpack.packb, (["synctape", 99, {}], 0)))


UNREADABLE = {
    "nothing": b"",
    "json": b'{"calls": []}',
    "noise": bytes(range(256)),
    "text": b"synctape 1\nNonsense(1, 2)\n",
    "binary text": b"synctape 1\n\xff",
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_is_no_trace_is_told_in_a_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "bad.tape"
    path.write_bytes(UNREADABLE[kind])
    with pytest.raises(TraceError) as refused:
        load(path)
    assert str(refused.value).startswith(f"{path}: ") and "\n" not in str(refused.value)


def test_a_missing_file_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"gone\.tape: cannot be read: No such file or directory$"):
        load(tmp_path / "gone.tape")


def test_the_recorded_interface_is_that_of_the_first_trace_that_reads(tmp_path: Path) -> None:
    other = save(tmp_path, "other", Trace(header=Trace().header.__class__(interface=OTHER)))
    broken, text = tmp_path / "broken.tape", tmp_path / "other.txt"
    broken.write_bytes(b'{"calls": []}')
    text.write_text(to_text(load(other)), encoding="utf-8")
    assert recorded_interface([broken, other]).iid == OTHER.iid
    assert recorded_interface([text]).iid == OTHER.iid
    assert recorded_interface([broken]) == recorded_interface([]) == CALLBACK
