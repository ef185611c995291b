"""Isolated players: what kills the child is the outcome of the call in flight, and the next sequence goes on."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from sequences import ABORT, GOOD, NULL_READ, calls, limits_memory, trace

from recorder.calls import SYNC_EVENT, Call, Header, Opaque, Outcome, OutcomeKind, Trace
from recorder.native import SWITCH
from replayer.isolation import Here, Isolated, Limits, Player, open_player, place_in, target_frames
from replayer.oracles import Judge
from replayer.player import PlayOptions, Run
from replayer.sandbox import Death
from replayer.target import TargetError, load_target

Isolate = Callable[[str], Player]

PATIENCE = 20.0  # seconds until a hang is one; a test that waits for one gives play() less
MEMORY = 200  # MiB


class Batched(Isolated):
    """Plays each sequence as a batch of its own, between two others that pass."""

    def play(self, trace: Trace | Iterable[Call], *, timeout: float | None = None) -> Run:
        empty: list[Call] = []
        before, run, after = self.play_many([empty, trace, empty], timeout=timeout)
        assert not before.trace.calls and not after.trace.calls
        return run


@pytest.fixture(scope="module", params=[Isolated, Batched], ids=["one by one", "in batches"])
def kind(request: pytest.FixtureRequest) -> type[Isolated]:
    """What plays: what comes of a sequence is the same."""
    made: type[Isolated] = request.param
    return made


@pytest.fixture(scope="module")
def isolated(kind: type[Isolated]) -> Iterator[Isolate]:
    """A player for a target, the same one for every test that asks for it."""
    players: dict[tuple[str, str], Isolated] = {}

    def player(spec: str) -> Isolated:
        key = spec, os.environ.get(SWITCH, "")
        if key not in players:
            players[key] = kind(spec, limits=Limits(PATIENCE, MEMORY))
        return players[key]

    yield player
    for made in players.values():
        made.close()


def kinds(run: Run) -> list[str]:
    return [outcome.kind.value for _, _, outcome in run.trace.played if outcome]


def outcome(run: Run, number: int) -> Outcome:
    found = run.trace.played[number].outcome
    assert found is not None
    return found


# ----------------------------------------------------------------------------------------------------- deaths


def test_a_crash_has_the_signal_the_call_in_flight_and_its_place(isolated: Isolate) -> None:
    run = isolated("targets.segfaults:Host").play(trace(*GOOD[:2], "Progress(NULL, 1, 0)", GOOD[3]))
    assert kinds(run) == ["returned", "returned", "crashed", "not run"]
    assert outcome(run, 2).detail == NULL_READ
    assert outcome(run, 2).place.startswith("segfaults.py:") and outcome(run, 2).place.endswith(" in Progress")
    assert outcome(run, 3).detail == "the target was gone"
    assert [frame.name for frame in target_frames(run.stack)] == ["string_at", "Progress"]


def test_a_hang_has_the_python_stack_and_the_call_in_flight(isolated: Isolate) -> None:
    run = isolated("targets.hangs_on_text:Host").play(trace(GOOD[0], 'Progress("%s", 1, 2)', GOOD[3]), timeout=0.3)
    assert kinds(run) == ["returned", "hung", "not run"]
    assert outcome(run, 1).detail == "no answer for 0.3 s"
    assert outcome(run, 1).place.startswith("hangs_on_text.py:")
    assert target_frames(run.stack)[0].name == "Progress"


def test_a_target_that_ends_the_process(isolated: Isolate) -> None:
    run = isolated("targets.exits:Host").play(trace(GOOD[0], 'Error(0x8000DEAD, "")', GOOD[3]))
    assert kinds(run) == ["returned", "crashed", "not run"]
    assert outcome(run, 1).detail == "exit code 3"


@limits_memory
def test_a_target_that_takes_too_much_memory(isolated: Isolate) -> None:
    run = isolated("targets.memory_hog:Host").play(trace(f'Progress("{"x" * 1001}", 0, 1)'))
    (finding,) = Judge.of(run.trace).findings(run)
    assert finding.code == "X6"


def test_a_recording_of_many_threads_has_room(isolated: Isolate) -> None:
    """Memory that their allocators lay claim to, and do not use, is not counted."""
    many = [call._replace(thread=number) for number, call in enumerate(calls(*[GOOD[1]] * 16))]
    assert kinds(isolated("targets.clean:Host").play(many)) == ["returned"] * 16


@pytest.mark.parametrize("deadly", ["segfaults", "exits", "hangs_on_text"])
def test_the_next_sequence_goes_on(isolated: Isolate, deadly: str) -> None:
    player = isolated(f"targets.{deadly}:Host")
    fatal = trace("Progress(NULL, 1, 0)", 'Error(0x8000DEAD, "")', 'Progress("%s", 0, 1)')
    for _ in range(2):
        assert {"crashed", "hung"} & {*kinds(player.play(fatal, timeout=0.3))}
        assert kinds(player.play(trace(*GOOD))) == ["returned"] * 4


# ---------------------------------------------------------------------------------------------------- batches


@pytest.fixture(scope="module")
def deadly() -> Iterator[Isolated]:
    with Isolated("targets.segfaults:Host", limits=Limits(PATIENCE, MEMORY)) as player:
        yield player


DEADLY = "Progress(NULL, 1, 0)"


@pytest.mark.parametrize("batch", [3, 100])
def test_each_death_of_a_batch_is_named_with_its_sequence_and_call(deadly: Isolated, batch: int) -> None:
    """And what was played before and behind it is there, in order."""
    many = [
        calls(*[GOOD[1]] * (number % 4), *[DEADLY] * (number in (0, 4, 5, 9)), GOOD[3]) for number in range(10)
    ]
    runs = list(deadly.play_many(many, batch=batch))
    assert [run.trace.calls for run in runs] == list(map(tuple, many))
    for number, run in enumerate(runs):
        dies = number in (0, 4, 5, 9)
        middle = ["crashed", "not run"] if dies else ["returned"]
        assert kinds(run) == ["returned"] * (number % 4) + middle
        assert bool(run.stack) == dies


def test_sequences_are_handed_over_as_they_are_taken(deadly: Isolated) -> None:
    """Any number of them, each once."""
    taken: list[int] = []

    def endless() -> Iterator[list[Call]]:
        for number in itertools.count():
            taken.append(number)
            yield calls(*GOOD)

    runs = deadly.play_many(endless(), batch=4)
    assert [kinds(next(runs)) for _ in range(6)] == [["returned"] * 4] * 6
    assert len(taken) == 8
    assert list(deadly.play_many([])) == []


def test_two_series_of_batches_at_a_time(deadly: Isolated) -> None:
    """One player, two generators that take turns."""
    one = deadly.play_many([calls(*GOOD[:2])] * 4, batch=2)
    other = deadly.play_many([calls(DEADLY), calls(GOOD[3])] * 2, batch=2)
    assert [(kinds(run), kinds(second)) for run, second in zip(one, other, strict=True)] == [
        (["returned"] * 2, ["crashed"]),
        (["returned"] * 2, ["returned"]),
    ] * 2


def test_times_threads_and_odd_values_arrive(host: Callable[..., Isolated]) -> None:
    source = """
class Host(clean.Host):
    def Progress(self, *values):
        return repr((threading.current_thread().name, *values))
"""
    given = [
        Call("Progress", ("\ud800", 2**70, 1.5), 2, 5_000_001),
        Call("Progress", (None, True, 1), 0, 1024),
        Call("Progress", (b"x",), 2, 1_000_000),
    ]
    run = host(source).play(given)
    assert run.trace.calls == tuple(given)
    assert [outcome(run, number).value for number in range(3)] == [
        repr(("synctape-2", "\ud800", 2**70, 1.5)),
        repr(("synctape-0", None, True, 1)),
        repr(("synctape-2", b"x")),
    ]


def test_a_target_that_refuses_in_the_midst_of_a_batch(host: Callable[..., Isolated]) -> None:
    player = host(SECOND.format(act="if len(made) > 3: raise ValueError('no more')"))
    runs = player.play_many([trace(*GOOD)] * 5)
    assert [kinds(next(runs)) for _ in range(2)] == [["returned"] * 4] * 2
    with pytest.raises(TargetError, match="no more"):
        next(runs)


# ------------------------------------------------------------------------------------------- hosts of our own


@pytest.fixture
def host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Isolated]
) -> Iterator[Callable[..., Isolated]]:
    """Plays a host given as the body of a class whose other methods are those of the clean one."""
    monkeypatch.syspath_prepend(tmp_path)
    opened: list[Isolated] = []

    def play(source: str, options: PlayOptions | None = None, timeout: float = 5) -> Isolated:
        name = f"own_host_{len(opened)}_{tmp_path.name}"
        body = "import ctypes, os, sys, threading\nfrom targets import clean\nmade = []\n" + source
        (tmp_path / f"{name}.py").write_text(body)
        opened.append(kind(f"{name}:Host", options=options, limits=Limits(timeout)))
        return opened[-1]

    yield play
    for player in opened:
        player.close()


def test_a_crash_when_the_host_is_released_comes_after_the_last_call(host: Callable[..., Isolated]) -> None:
    source = """
class Host(clean.Host):
    def __del__(self):
        if self.result is not None:
            ctypes.string_at(0)
"""
    run = host(source).play(trace(*GOOD))
    assert kinds(run) == ["returned"] * 3 + ["crashed"]
    assert outcome(run, 3).detail == f"{NULL_READ}, after it returned"
    assert outcome(run, 3).place.endswith(" in __del__")


SECOND = """
class Host(clean.Host):
    def __init__(self):
        super().__init__()
        made.append(1)
        if len(made) > 1:  # the first one is only asked whether it is there
            {act}
"""


def test_a_factory_that_fails_later_is_told_in_a_line(host: Callable[..., Isolated]) -> None:
    with pytest.raises(TargetError, match="the factory raised ValueError: no more at own_host") as refused:
        host(SECOND.format(act="raise ValueError('no more')")).play(trace(*GOOD))
    assert "\n" not in str(refused.value)


def test_a_factory_that_crashes_later_is_no_crash_of_a_call(host: Callable[..., Isolated]) -> None:
    with pytest.raises(TargetError, match=rf"the factory crashed \({NULL_READ}\)$"):
        host(SECOND.format(act="ctypes.string_at(0)")).play(trace(*GOOD))


def test_a_factory_that_hangs_later_is_no_hang_of_a_call(host: Callable[..., Isolated]) -> None:
    with pytest.raises(TargetError, match=r"the factory hung \(no answer for 0\.3 s\)$"):
        host(SECOND.format(act="threading.Event().wait()"), timeout=0.3).play(trace(*GOOD))


def test_a_moment_is_for_the_calls_and_not_for_the_factory(host: Callable[..., Isolated]) -> None:
    run = host(SECOND.format(act="threading.Event().wait(0.5)")).play(trace(*GOOD), timeout=0.2)
    assert kinds(run) == ["returned"] * 4


def test_a_factory_that_crashes_at_once(host: Callable[..., Isolated]) -> None:
    with pytest.raises(TargetError, match=rf"making target own_host.* ended with {NULL_READ}"):
        host(SECOND.replace("> 1", "> 0").format(act="ctypes.string_at(0)")).play(trace(*GOOD))


def test_a_crash_in_a_thread_of_the_target_has_its_place(host: Callable[..., Isolated]) -> None:
    source = """
class Host(clean.Host):
    def Progress(self, *args):
        thread = threading.Thread(target=self.work)
        thread.start()
        thread.join()
    def work(self):
        ctypes.string_at(0)
"""
    run = host(source).play(trace(GOOD[0]))
    assert outcome(run, 0).place.endswith(" in work")


def test_a_recorded_pause_is_no_hang(host: Callable[..., Isolated]) -> None:
    player = host("Host = clean.Host", PlayOptions(pace=1.0), 0.25)
    sequence = [Call("Progress", (None, 0, 1), 0, ms * 10**6) for ms in (0, 600)]
    assert kinds(player.play(sequence)) == ["returned"] * 2


def test_the_main_thread_of_the_child(host: Callable[..., Isolated]) -> None:
    source = """
class Host(clean.Host):
    def Progress(self, *args):
        return int(threading.current_thread() is threading.main_thread())
"""
    answers = [host(source, PlayOptions(main_thread=main)).play(trace(GOOD[0])) for main in (False, True)]
    assert [outcome(run, 0).value for run in answers] == [0, 1]


# ------------------------------------------------------------------------------------------- the same as here


STRANGE = [
    Call("Progress", ("\ud800 half a pair \U0001f4e8", 2**32 - 1, 0), 1, 5000),
    Call("Error", (-(2**31), None), 0, 7000),
    Call("Progress", (Opaque("list", "[]"), 0, 0)),
    Call("AddRef"),
    Call("Done", (SYNC_EVENT, 1)),
]


@pytest.mark.parametrize(
    "name", ["clean", "raises_on_null_text", "bad_hresult", "thread_exception", "double_close"]
)
@pytest.mark.parametrize("sequence", [calls(*GOOD), STRANGE, []], ids=["good", "strange", "empty"])
def test_a_child_gives_what_this_process_gives(isolated: Isolate, name: str, sequence: list[Call]) -> None:
    recorded = Trace.from_calls(sequence, Header(created_ns=1, provenance={"kind": "test"}))
    spec = f"targets.{name}:Host"
    here, there = Here(load_target(spec)).play(recorded), isolated(spec).play(recorded)

    def facts(run: Run) -> object:
        played = [(call, result._replace(elapsed_ns=0)) for _, call, result in run.trace.played if result]
        return run.trace.header, run.trace.threads, played, [(s.kind, s.number, s.place) for s in run.observations]

    assert facts(here) == facts(there)


@pytest.mark.parametrize("isolate", [True, False])
def test_a_bad_target_is_told_in_the_same_words(isolate: bool) -> None:
    with pytest.raises(
        TargetError, match=r"^target targets\.nowhere:Host: no module 'targets\.nowhere' here or on sys"
    ):
        open_player("targets.nowhere:Host", isolate=isolate).play(trace(*GOOD))


@pytest.mark.parametrize("isolate", [True, False])
def test_open_player_gives_either(isolate: bool) -> None:
    with open_player("targets.clean:Host", isolate=isolate, options=PlayOptions(), limits=Limits(5)) as player:
        assert player.spec == "targets.clean:Host"
        assert kinds(player.play(calls(*GOOD))) == ["returned"] * 4


def test_a_process_that_dies_when_all_of_a_batch_is_played_died_after_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As by a thread that the target has left behind."""
    with Isolated("targets.clean:Host") as player:
        asked = player._ask

        def dies(payload: object, timeout: float | None) -> object:
            assert asked(payload, timeout) is None
            return Death(OutcomeKind.CRASHED, "exit code 9")

        player.play(trace(*GOOD))
        monkeypatch.setattr(player, "_ask", dies)
        runs = list(player.play_many([trace(*GOOD)] * 2))
    assert [kinds(run)[-1] for run in runs] == ["returned", "crashed"]
    assert outcome(runs[1], 3).detail == "exit code 9, after it returned"


# ----------------------------------------------------------------------------------------------------- stacks


def stack(*frames: str, head: str = "Current thread 0x00007f (most recent call first):") -> str:
    lines = [f'  File "{file}", line {line} in {name}' for file, line, name in (f.split() for f in frames)]
    return "\n".join([head, *lines])


PLAYER = "/x/replayer/player.py 7 _make"
OTHER_THREAD = "Thread 0x00007e (most recent call first):"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", ""),
        ("Segmentation fault", ""),
        (stack("/x/host.py 3 Progress", PLAYER), "host.py:3 in Progress"),
        (stack("/x/helper.py 9 deep", "/x/host.py 3 Progress", PLAYER), "helper.py:9 in deep"),
        (stack("/x/recorder/com.py 9 call", PLAYER), ""),
        (stack(f"{pytest.__file__} 1 lib", "/x/host.py 3 Progress", PLAYER), "host.py:3 in Progress"),
        (stack("/x/host.py 5 work"), "host.py:5 in work"),
        (
            stack("/x/threading.py 9 wait", "/x/replayer/hang_watch.py 7 _watch", head=OTHER_THREAD)
            + "\n\n"
            + stack("/x/host.py 5 __del__"),
            "host.py:5 in __del__",
        ),
        (stack("/x/host.py 5 work", head=OTHER_THREAD), ""),
        (stack(PLAYER) + "\n\n" + stack("/x/host.py 3 Done", PLAYER, head=OTHER_THREAD), "host.py:3 in Done"),
    ],
)
def test_the_place_in_a_stack(text: str, place: str) -> None:
    assert place_in(text) == place


# ----------------------------------------------------------------------------------------------------- native


@pytest.mark.native
class TestNative:
    @pytest.fixture(autouse=True, params=["compiled", "ctypes"])
    def core(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
        """What makes the calls in the child: what comes of a sequence is the same."""
        way: str = request.param
        monkeypatch.setenv(SWITCH, "" if way == "compiled" else way)
        return way

    @pytest.fixture
    def play(self, library: Callable[[str], Path], isolated: Isolate) -> Callable[..., Run]:
        return lambda name, *lines, **options: isolated(f"{library(name)}:create").play(trace(*lines), **options)

    @pytest.fixture
    def found(self, play: Callable[..., Run]) -> Callable[..., list[tuple[str, int, str]]]:
        def findings(name: str, *lines: str, **options: float) -> list[tuple[str, int, str]]:
            run = play(name, *lines, **options)
            return [(f.code, f.number, f.message) for f in Judge.of(run.trace).findings(run)]

        return findings

    def test_a_correct_host_passes(self, play: Callable[..., Run]) -> None:
        run = play("good_host", *GOOD, 'Error(E_FAIL, "late")', "Done(NULL, S_OK)")
        assert kinds(run) == ["returned"] * 6
        assert Judge.of(run.trace).findings(run) == []

    def test_a_null_read_is_a_crash_in_its_call(self, found: Callable[..., list[tuple[str, int, str]]]) -> None:
        assert found("null_text", GOOD[0], "Progress(NULL, 1, 2)", GOOD[3]) == [("X1", 1, NULL_READ)]

    def test_abort(self, play: Callable[..., Run]) -> None:
        run = play("abort", *GOOD, "Done(NULL, S_OK)", "Error(S_OK, NULL)", "Progress(NULL, 0, 0)")
        assert "crashed" in kinds(run)
        assert ABORT in [result.detail for _, _, result in run.trace.played if result]

    def test_an_endless_loop_is_a_hang(self, found: Callable[..., list[tuple[str, int, str]]]) -> None:
        hang = [("X2", 1, "no answer for 0.3 s")]
        assert found("hang", GOOD[0], "Progress(NULL, 1, 100)", timeout=0.3) == hang

    def test_a_handle_that_is_never_closed(self, found: Callable[..., list[tuple[str, int, str]]]) -> None:
        assert found("leaky_handle", *GOOD) == [("H14", 3, "handle 0 was never closed")]
        assert found("leaky_handle", "Done(NULL, S_OK)") == []

    def test_an_object_that_refuses_the_interface(self, play: Callable[..., Run]) -> None:
        with pytest.raises(TargetError, match="does not speak IMAPISyncProgressCallback"):
            play("refuses_iid", *GOOD)

    def test_calls_that_the_abi_cannot_carry_are_not_run(
        self, library: Callable[[str], Path], isolated: Isolate
    ) -> None:
        player = isolated(f"{library('good_host')}:create")
        run = player.play([Call("Progress", ("x", 2**32, 1)), Call("Release", (1,)), *calls(*GOOD[:1])])
        assert kinds(run) == ["not run", "not run", "returned"]
        assert outcome(run, 0).detail == "arguments that the ABI cannot carry"
