"""A trace as a pytest file: red while the bug lives, green after, and alone in its folder."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sequences import CALLBACK, GOOD, QuietHost, regression, trace
from targets.imapi_progress import IMAPI_PROGRESS

from corpora import folder
from fuzz.strategies import call_sequences
from recorder.calls import Argument, Call, Handle, Header, Opaque, Trace
from recorder.errors import SynctapeError
from replayer.corpus import find_traces, load
from replayer.export import script_of
from replayer.export_pytest import PYTEST, to_pytest
from replayer.isolation import Here
from replayer.oracles import Judge
from replayer.target import load_target

TARGETS = Path(__file__).parents[1] / "targets"
CORPUS = find_traces([folder()])
OURS = ("synctape", "recorder", "replayer", "fuzz", "corpora")


def exported(recorded: Trace) -> str:
    return to_pytest(script_of(recorded, PYTEST, "run.tape"))


def loaded(recorded: Trace) -> dict[str, Any]:
    """The names of an exported file."""
    names: dict[str, Any] = {"__name__": "exported", "__file__": "exported.py"}
    exec(compile(exported(recorded), "exported.py", "exec", dont_inherit=True), names)
    return names


def problems(recorded: Trace, callback: object) -> list[str]:
    """What the exported file says of a callback."""
    found: list[str] = loaded(recorded)["Replay"](callback).play()
    return found


def alone(folder: Path, source: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run an exported file with pytest where nothing of ours can be imported."""
    (folder / "test_exported.py").write_text(source, "ascii")
    away = folder / "away"
    away.mkdir(exist_ok=True)
    for name in OURS:
        (away / f"{name}.py").write_text("raise ImportError('none of ours here')\n")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "SYNCTAPE"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_exported.py"],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(away), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


MENDED = """
class Host:
    def Progress(self, text, index, maximum): return 0
    def Error(self, result, text): return None
    def Done(self, handle, result):
        if handle is not None: handle.close()
"""

# What each buggy target is caught by: code, oracle, sequence, what the file says of it.
BUGS: dict[str, tuple[str, str, tuple[str, ...], str]] = {
    "divides_by_max": ("X3", "exception", ('Progress("a", 0, 0)',), "call 0, Progress: raised ZeroDivisionError"),
    "double_close": ("H14", "handle", ("Done(handle(3), S_OK)",), "handle 3 was closed 2 times"),
    "leaks_handle": ("H14", "handle", ("Done(sync-event, S_OK)",), "handle 0 was never closed"),
    "bad_hresult": ("H6", "invalid-result", ("Done(NULL, 0x80004005)",), "answered 'failed', not from"),
    "fails_conforming": ("H6", "failure", ("Progress(NULL, 1, 1)",), "answered -2147467259, not from 0 to"),
    "thread_exception": ("X4", "thread-exception", ("Done(NULL, S_OK)",), "a thread ended with LookupError"),
    "del_exception": ("X4", "thread-exception", ("Done(NULL, S_OK)",), "a finaliser raised RuntimeError"),
    "invariant_breaks": (
        "X5",
        "invariant",
        ("Progress(NULL, 1, 1)", "Progress(NULL, 0, 1)"),
        "call 1, Progress: invariant() raised AssertionError",
    ),
}
CRASHED = "access violation" if sys.platform == "win32" else "the process ended with"
DEADLY: dict[str, tuple[str, str, tuple[str, ...], str]] = {
    "segfaults": ("X1", "crash", ("Progress(NULL, 1, 0)",), CRASHED),
    "exits": ("X7", "exit", ('Error(0x8000DEAD, "")',), "the process ended with 3"),
    "hangs_on_text": ("X2", "hang", ('Progress("%s", 0, 1)',), "hangs"),
}
if sys.platform != "win32":  # where no process can set itself a limit
    DEADLY["memory_hog"] = ("X6", "memory", (f'Progress("{"x" * 1001}", 0, 1)',), "MemoryError")


def test_alone_in_a_folder_it_is_red_while_the_bug_lives_and_green_after(tmp_path: Path) -> None:
    code, oracle, lines, said = BUGS["divides_by_max"]
    source = exported(regression(code, *lines, oracle=oracle))
    host = tmp_path / "host.py"
    host.write_text((TARGETS / "divides_by_max.py").read_text("utf-8"), "utf-8")

    buggy = alone(tmp_path, source, SYNCTAPE_FACTORY="host:Host")
    host.write_text(MENDED, "utf-8")
    mended = alone(tmp_path, source.replace('"your_module:YourCallback"', '"host:Host"'))

    assert (buggy.returncode, said in buggy.stdout) == (1, True), buggy.stdout + buggy.stderr
    assert (mended.returncode, "1 passed" in mended.stdout) == (0, True), mended.stdout + mended.stderr


@pytest.mark.parametrize("name", BUGS)
def test_each_bug_shows_and_a_correct_host_does_not(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code, oracle, lines, said = BUGS[name]
    recorded = regression(code, *lines, oracle=oracle)
    names = loaded(recorded)
    monkeypatch.setenv("SYNCTAPE_FACTORY", f"targets.{name}:Host")

    with pytest.raises(pytest.fail.Exception, match=said.replace("(", r"\(").replace(")", r"\)")):
        names["test_replay"]()

    monkeypatch.setenv("SYNCTAPE_FACTORY", "sequences:QuietHost")
    names["test_replay"]()


@pytest.mark.slow
@pytest.mark.parametrize("name", DEADLY)
def test_what_ends_the_process_is_played_in_a_child(name: str, tmp_path: Path) -> None:
    code, oracle, lines, said = DEADLY[name]
    source = exported(regression(code, *lines, oracle=oracle))
    if oracle == "hang":
        source = source.replace("PATIENCE = 10.0", "PATIENCE = 2.0")
    host = tmp_path / "host.py"
    host.write_text((TARGETS / f"{name}.py").read_text("utf-8"), "utf-8")

    buggy = alone(tmp_path, source, SYNCTAPE_FACTORY="host:Host")
    host.write_text(MENDED, "utf-8")
    mended = alone(tmp_path, source, SYNCTAPE_FACTORY="host:Host")

    assert (buggy.returncode, said in buggy.stdout) == (1, True), buggy.stdout + buggy.stderr
    assert (mended.returncode, "1 passed" in mended.stdout) == (0, True), mended.stdout + mended.stderr


@pytest.mark.parametrize("spec", ["nowhere:Host", "sequences:Nobody", "sequences:calls.x", "colonless"])
def test_without_a_callback_it_is_red(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCTAPE_FACTORY", spec)
    with pytest.raises(pytest.fail.Exception, match="no callback"):
        loaded(trace(*GOOD))["test_replay"]()


def test_a_callback_that_lacks_a_method_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    names = loaded(trace(*GOOD))
    names["FACTORY"] = object  # it may be the factory itself
    monkeypatch.delenv("SYNCTAPE_FACTORY", raising=False)
    with pytest.raises(pytest.fail.Exception, match="object has no Progress, Error, Done"):
        names["test_replay"]()


def test_the_factory_of_the_finding_is_filled_in() -> None:
    kept = {"finding": {"code": "X3", "oracle": "exception"}}

    def factory(spec: str) -> Any:
        header = Header(target={"spec": spec}, provenance=kept)
        return loaded(Trace.from_calls(trace(*GOOD).calls, header))["FACTORY"]

    assert factory("my_app.host:Host") == "my_app.host:Host"
    for spec in ("./host.so:create", 'x" + "y:z', "module:Host\n"):
        assert factory(spec) == "your_module:YourCallback"
    assert loaded(trace(*GOOD))["FACTORY"] == "your_module:YourCallback"


class Seen:
    """Keeps what it is called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Callable[..., int]:
        if name not in CALLBACK.slot:
            raise AttributeError(name)
        return lambda *args: self.calls.append((name, args)) or 0  # type: ignore[func-returns-value]


def played(recorded: Trace) -> list[tuple[str, tuple[Any, ...]]]:
    seen, names = Seen(), loaded(recorded)
    names["gc"] = SimpleNamespace(collect=int)  # nothing here has a __del__
    names["Replay"](seen).play()
    return seen.calls


ODD = "a\"\\'\n\0\t\x7f\x85\u2028\ufeff\ud800a\udc00\ud83d\ude00\U0001f600é?? %s {0}"


def test_arguments_arrive_as_they_were() -> None:
    odd: tuple[Argument, ...] = (True, 1.5, float("nan"), b"\0'\"")
    values = (ODD, None, "", -(2**31), 2**64 - 1, *odd)
    calls = [Call("Progress", values), Call("Error", (-(2**31) - 1, 0x80004005)), Call("Done", (16**4000,))]
    first, second, third = played(Trace.from_calls(calls))
    assert first[0] == "Progress" and [repr(a) for a in first[1]] == [repr(v) for v in values]
    assert second == ("Error", (-(2**31) - 1, 0x80004005)) and third == ("Done", (16**4000,))


def test_a_handle_is_the_same_one_each_time() -> None:
    lines = ("Done(sync-event, S_OK)", "Done(handle(4), S_OK)", "Done(sync-event, S_OK)", "Done(handle(-1), S_OK)")
    handles = [args[0] for _, args in played(trace(*lines))]
    assert handles[0] is handles[2] and handles[0] is not handles[1]
    assert handles[3] == -1 and hasattr(handles[3], "Close")


def test_calls_are_made_one_by_one_on_the_threads_of_the_trace() -> None:
    import threading

    class Host(QuietHost):
        threads: list[int]

        def __init__(self) -> None:
            self.threads = []

        def Progress(self, text: str | None, index: int, maximum: int) -> int:
            self.threads.append(threading.get_ident())
            return 0

    host = Host()
    steps = [Call("Progress", (None, n, 4), thread=n % 2) for n in range(4)]
    assert problems(Trace.from_calls(steps), host) == []
    assert host.threads[:2] * 2 == host.threads and len({*host.threads, threading.get_ident()}) == 3


def test_a_failure_is_wrong_only_where_the_calls_keep_to_the_contract() -> None:
    class Host(QuietHost):
        done = False

        def Progress(self, text: str | None, index: int, maximum: int) -> int:
            return -1 if self.done else 0

        def Done(self, handle: Any, result: int) -> int:
            self.done = True
            return 0

    assert problems(trace(*GOOD, "Progress(NULL, 1, 2)"), Host()) == []
    assert "not from 0 to" in "".join(problems(trace("Done(NULL, S_OK)"), _Answers(0x80004005)))
    for answer in (None, 1):
        assert problems(trace("Done(NULL, S_OK)"), _Answers(answer)) == []


class _Answers(QuietHost):
    def __init__(self, answer: Any):
        self.answer = answer

    def Done(self, handle: Any, result: int) -> Any:
        return self.answer


def test_another_interface_with_outputs_and_no_contract() -> None:
    recorded = trace("GetMax()", "SetLimits(1, NULL, 3)", "Progress(1, 2, 3)", interface=IMAPI_PROGRESS)
    names = loaded(recorded)
    assert names["METHODS"] == tuple(m.name for m in IMAPI_PROGRESS.calls)

    class Host:
        limits: tuple[Any, ...] = ()

        def GetMax(self) -> tuple[int, int]:
            return 0, 1000

        def SetLimits(self, *limits: Any) -> int:
            self.limits = limits
            return 0

        def Progress(self, value: int, count: int, total: int) -> int:
            return -1

    host = Host()
    (problem,) = names["Replay"](host).play()
    assert host.limits == (1, None, 3)
    assert problem.startswith("call 2, Progress: answered -1")


def test_calls_that_cannot_be_made_are_left_out_and_named() -> None:
    opaque = Call("Progress", (Opaque("x", "y"), 1, 2))
    recorded = Trace.from_calls([Call("AddRef"), opaque, Call("Done", (None, 0))])
    assert played(recorded) == [("Done", (None, 0))]
    assert "# 0: AddRef() is not made: it is IUnknown's: a Python object has none" in exported(recorded)


@pytest.mark.parametrize(
    ("recorded", "said"),
    [
        (trace(), "has no calls"),
        (Trace.from_calls([Call("AddRef")]), "none of its 1 calls"),
        (regression("X10", *GOOD, oracle="memory-growth"), "oracle memory-growth.* for pytest does not have"),
        (
            Trace.from_calls(
                [Call("Progress", (Opaque("x", "y"), 1, 2)), Call("Done", (None, 0))],
                Header(provenance={"finding": {"code": "X3", "oracle": "exception"}}),
            ),
            "call 0 cannot be exported",
        ),
    ],
)
def test_no_file_that_could_not_keep_its_promise(recorded: Trace, said: str) -> None:
    with pytest.raises(SynctapeError, match=said):
        exported(recorded)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_every_trace_that_ships_is_exported_the_same_way_each_time(path: Path) -> None:
    recorded = load(path)
    source = exported(recorded)
    assert source == exported(load(path)) and source.isascii()
    ast.parse(source)


@pytest.mark.slow
def test_a_captured_run_finds_what_replay_finds() -> None:
    """On the same target the exported file and the oracles agree."""
    for path in CORPUS[::16]:
        recorded = load(path)
        for name in ("clean", "divides_by_max", "fails_conforming", "leaks_handle"):
            target = load_target(f"targets.{name}:Host", CALLBACK)
            findings = Judge.of(recorded).findings(Here(target).play(recorded))
            assert bool(problems(recorded, target.instance().object)) == bool(findings), (path.stem, name)


@settings(deadline=None, max_examples=30)
@given(call_sequences(CALLBACK, level="hostile"))
def test_any_sequence_is_exported_call_by_call(calls: list[Call]) -> None:
    if not calls:
        return
    made = played(Trace.from_calls(calls))
    assert [name for name, _ in made] == [call.method for call in calls]
    for call, (_, args) in zip(calls, made, strict=True):
        for given_value, came in zip(call.args, args, strict=True):
            if isinstance(given_value, Handle):
                assert isinstance(came, int)
            else:
                assert came == given_value


@settings(deadline=None, max_examples=30)
@given(st.text(st.characters(exclude_categories=())), st.text(st.characters(exclude_categories=())))
def test_any_text_in_header_and_calls_is_data(text: str, message: str) -> None:
    recorded = Trace.from_calls(
        [Call("Progress", (text, 1, 2))],
        Header(
            target={"spec": message},
            provenance={"finding": {"code": text, "oracle": "exception", "message": message, "method": text}},
        ),
    )
    assert to_pytest(script_of(recorded, PYTEST, message)).isascii()
    assert played(recorded) == [("Progress", (text, 1, 2))]
