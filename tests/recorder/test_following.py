"""Following a trace that is being written: what is seen of it, look by look, and what `synctape watch` prints."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import synctape
from recorder.callback import RecordingCallback
from recorder.calls import Call, Enter, Event, Leave, Outcome, PlayedCall, Trace, TraceDamage
from recorder.encoding import end_record
from recorder.errors import TraceError
from recorder.following import PATIENCE, Begun, Ended, Finished, Quiet, Seen, follow
from recorder.trace import dump_trace, write_trace

CALLS = [Call("Progress", (f"Folder {n}", n, 9), 0, n * 10**6) for n in range(10)]


def trace(calls: list[Call]) -> Trace:
    return Trace.from_calls(calls, outcomes=[Outcome()] * len(calls))


def look(seen: Iterator[Seen]) -> list[Seen]:
    """What one look shows: everything up to a Quiet, or the end."""
    found: list[Seen] = []
    for item in seen:
        if isinstance(item, Quiet):
            break
        found.append(item)
    return found


def numbers(seen: list[Seen]) -> list[int]:
    return [item.played.number for item in seen if isinstance(item, Ended)]


def test_calls_are_seen_as_they_are_recorded(tmp_path: Path) -> None:
    path = tmp_path / "run.tape"
    seen = follow(path)
    assert next(seen) == Quiet(f"{path} is not there yet")
    with RecordingCallback(path=path) as callback:
        assert isinstance(look(seen)[0], Begun)
        for number in range(3):
            callback.Progress("Folder", number, 2)
            (ended,) = look(seen)
            assert isinstance(ended, Ended)
            assert (ended.played.number, ended.played.call.args) == (number, ("Folder", number, 2))
        assert look(seen) == []
    assert look(seen) == [Finished(path, 3)]
    assert [*seen] == []


def test_a_call_that_takes_long_is_seen_running_and_again_when_it_ends(tmp_path: Path) -> None:
    path, inside, go_on = tmp_path / "run.tape", threading.Event(), threading.Event()

    class Host:
        def Progress(self, *_: object) -> int:
            inside.set()
            go_on.wait(60)
            return 0

    with RecordingCallback(Host(), path) as callback:
        thread = threading.Thread(target=lambda: callback.Progress("slow", 1, 2))
        thread.start()
        inside.wait(60)
        seen = follow(path)
        looks = [look(seen) for _ in range(20)]
        (running,) = [item for found in looks for item in found if isinstance(item, Ended)]
        assert running.played.outcome is None
        go_on.set()
        thread.join()
        (ended,) = look(seen)
        assert isinstance(ended, Ended)
        assert ended.again
        assert ended.played.outcome is not None


@pytest.mark.parametrize("fill", [0, 4096])
def test_a_file_that_grows_by_bytes_is_read_like_one_that_is_there(tmp_path: Path, fill: int) -> None:
    """Records that are torn for a moment, in files with zeros behind them and without."""
    path, data = tmp_path / "run.tape", dump_trace(trace(CALLS))
    seen, found = follow(path), list[Seen]()
    path.write_bytes(b"")
    for end in range(0, len(data), 7):
        path.write_bytes(data[:end] + bytes(fill))
        found += look(seen)
    path.write_bytes(data)
    found += look(seen)
    assert numbers(found) == [*range(10)]
    assert found[-1] == Finished(path, 10)


def test_what_stays_torn_is_damage(tmp_path: Path) -> None:
    path, data = tmp_path / "run.tape", bytearray(dump_trace(trace(CALLS)))
    data[-40] ^= 0xFF
    path.write_bytes(data)
    seen = follow(path)
    found = [item for _ in range(PATIENCE + 2) for item in look(seen)]
    end = found[-1]
    assert isinstance(end, Finished)
    assert end.damage is not None
    assert end.damage.offset < len(data) - 40
    assert numbers(found) == [*range(len(numbers(found)))]
    assert [*seen] == []


def test_what_is_no_trace_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.tape").write_bytes(b'{"not": "a trace"}')
    with pytest.raises(TraceError, match="is not a synctape trace"):
        [*follow(tmp_path / "x.tape")]


def test_a_file_in_its_place_is_followed_from_its_beginning(tmp_path: Path) -> None:
    path, other = tmp_path / "run.tape", tmp_path / "other.tape"
    path.write_bytes(dump_trace(trace(CALLS))[:-10])
    seen = follow(path)
    assert numbers(look(seen)) == [*range(10)]
    write_trace(trace(CALLS[:2]), other)
    other.replace(path)
    kinds = [type(item).__name__ for item in look(seen)]
    assert kinds == ["Finished", "Begun", "Ended", "Ended", "Finished"]


def test_the_files_of_one_recording_are_followed_one_after_the_other(tmp_path: Path) -> None:
    def part(number: int, calls: list[Call]) -> Path:
        path = tmp_path / f"run.{number:04}.tape"
        path.write_bytes(dump_trace(trace(calls))[: None if number == 12 else -10])
        return path

    part(1, CALLS[:1])
    part(9, CALLS[:2])
    write_trace(trace(CALLS), tmp_path / "run2.0007.tape")
    seen = follow(tmp_path / "run.tape")
    first = look(seen)
    assert isinstance(first[0], Begun)
    assert (first[0].path.name, numbers(first)) == ("run.0009.tape", [0, 1])
    part(12, CALLS[:3])  # those between were dropped
    ended, begun, *second = look(seen)
    assert ended == Finished(tmp_path / "run.0009.tape", 2)
    assert isinstance(begun, Begun)
    assert (begun.path.name, numbers(second)) == ("run.0012.tape", [0, 1, 2])
    assert [*seen] == []


def test_a_call_that_began_in_an_earlier_file_is_seen_to_end_there(tmp_path: Path) -> None:
    """New calls go to the next file while the earlier one has no end yet."""
    first, second = tmp_path / "run.0001.tape", tmp_path / "run.0002.tape"
    events: list[Event] = [Enter(0, CALLS[0]), Enter(1, CALLS[1]), Leave(1, Outcome())]
    begun = dump_trace(Trace(events=tuple(events), damage=TraceDamage(0, "")))
    ended = dump_trace(Trace(events=(*events, Leave(0, Outcome()))))
    first.write_bytes(begun)
    seen = follow(first)
    assert numbers(look(seen)) == [1]
    second.write_bytes(dump_trace(trace(CALLS[:1]))[:-10])
    found = look(seen)
    assert [type(item) for item in found] == [Finished, Begun, Ended]
    second.write_bytes(dump_trace(trace(CALLS[:3]))[:-10])
    assert numbers(look(seen)) == [1, 2]
    first.write_bytes(ended)
    (end,) = look(seen)
    assert isinstance(end, Ended)
    assert end.played == PlayedCall(0, CALLS[0], Outcome())
    assert look(seen) == []


def test_a_file_that_goes_on_in_another_one_has_no_damage(tmp_path: Path) -> None:
    for number in (1, 2):
        data = dump_trace(trace(CALLS))[:-10]
        reason = "goes on" if number == 1 else None
        (tmp_path / f"run.{number:04}.tape").write_bytes(data + end_record(zlib.crc32(data), reason))
    ends = [item for item in follow(tmp_path / "run.0001.tape") if isinstance(item, Finished)]
    assert [end.damage for end in ends] == [None, None]
    (tmp_path / "run.0002.tape").unlink()
    (end,) = (item for item in follow(tmp_path / "run.0001.tape") if isinstance(item, Finished))
    assert end.damage is not None
    assert end.damage.reason == "recording stopped: goes on"


# --- the command ---------------------------------------------------------------------------------------------


def watch(*arguments: str | Path) -> Result:
    return CliRunner().invoke(synctape.main, ["watch", *map(str, arguments)])


def test_a_trace_that_has_ended_is_told_at_once(tmp_path: Path) -> None:
    path = write_trace(trace(CALLS), tmp_path / "run.tape")
    lines = watch(path, "-n", "2").stdout.splitlines()
    assert lines[0] == f"==> {path} <=="
    assert [line.split()[0] for line in lines[2:4]] == ["8", "9"]
    assert 'Progress("Folder 9", 9, 9)' in lines[3]
    assert len({line.index(" S_OK ") for line in lines[2:4]} | {lines[1].index(" answer ")}) == 1
    assert lines[4:] == [f"{path} has ended after 10 calls"]
    assert len(watch(path, "--from-start").stdout.splitlines()) == 13
    assert len(watch(path, "-n", "0").stdout.splitlines()) == 2
    assert "Folder 3" in watch(path, "--between", "2500us..3ms").stdout


def test_json_lines_and_chosen_calls(tmp_path: Path) -> None:
    path = write_trace(trace([*CALLS, Call("Error", (-1, "x"))]), tmp_path / "run.tape")
    header, call, end = map(json.loads, watch(path, "--json", "--method", "Error").stdout.splitlines())
    assert (header["kind"], header["path"]) == ("header", str(path))
    assert (call["number"], call["args"]) == (10, [-1, "x"])
    assert (end["kind"], end["calls"], end["damage"]) == ("end", 11, None)


@pytest.mark.parametrize("data", [b"{}", b"x" * 40, b"\x93\xa8synctale", b"synctape 1\n"])
def test_bad_input_is_told_in_a_line(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.tape").write_bytes(data)
    result = watch(tmp_path / "x.tape")
    assert result.exit_code == 2
    assert "x.tape: " in result.output
    assert result.output.count("\n") == 1


@pytest.mark.slow
def test_the_installed_command_follows_a_recording(tmp_path: Path) -> None:
    """In a process of its own, on a file that another process is recording."""
    path = tmp_path / "run.tape"
    process = subprocess.Popen(
        [sys.executable, "-m", "synctape", "watch", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.stdout and process.stderr
    try:
        assert "is not there yet" in process.stderr.readline()
        with RecordingCallback(path=path) as callback:
            assert process.stdout.readline() == f"==> {path} <==\n"
            for number in range(3):
                callback.Progress("Folder", number, 2)
                if number == 0:
                    assert process.stdout.readline().lstrip().startswith("call ")
                assert f'Progress("Folder", {number}, 2)' in process.stdout.readline()
        rest, _ = process.communicate(timeout=60)
        assert rest == f"{path} has ended after 3 calls\n"
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_ends_watching_quietly(tmp_path: Path) -> None:
    path = tmp_path / "run.tape"
    path.write_bytes(dump_trace(trace(CALLS))[:-10])
    process = subprocess.Popen(
        [sys.executable, "-m", "synctape", "watch", str(path), "-n", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.stdout
    try:
        while "Folder 9" not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == ("", "")
        assert process.returncode == 130
    finally:
        process.kill()
        process.communicate()
