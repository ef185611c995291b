"""Scheduled calls: threads and switches decide what runs when, whatever the threads wait for."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recorder.calls import SYNC_EVENT, Call, Enter, Header, Trace
from replayer.isolation import Isolated, open_player
from replayer.player import PlayOptions, Run, play
from replayer.target import object_target

CONCURRENT = PlayOptions(concurrent=True, skip=("linearizability", "lost-update"))  # which would play again
MODULE_LOCK = threading.Lock()
AGAIN = {"the same": [MODULE_LOCK]}
SEEN = threading.Condition(MODULE_LOCK)


@dataclass
class Guarded:
    lock: Any = field(default_factory=threading.Lock)


GUARDED = Guarded()


def closed_over(lock: Any) -> Callable[[], Any]:
    return lambda: lock


in_closure = closed_over(threading.Lock())


def first(thread: int, *switches: int) -> Call:
    return Call("Progress", ("a", 1, 2), thread, 0, switches)


def second(thread: int, *switches: int) -> Call:
    return Call("Error", (-1, "b"), thread, 0, switches)


def last(thread: int, *switches: int) -> Call:
    return Call("Done", (None, 0), thread, 0, switches)


class Host:
    """Answers S_OK; others derive.  `made` is the one that was played; further ones are to compare with."""

    made: Any = None

    def __init__(self) -> None:
        if type(self).made is None:
            type(self).made = self
        self.count = 0
        self.set_up()

    def set_up(self) -> None:
        pass

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0

    def Done(self, handle: Any, result: int) -> int:
        return 0


def run(host: type[Host], *calls: Call) -> Run:
    host.made = None
    return play(calls, object_target(host), CONCURRENT)


def order(played: Run) -> str:
    """Calls by their first letters as they begin, small as they end."""
    calls = played.trace.calls
    return "".join(
        calls[e.number].method[0] if isinstance(e, Enter) else calls[e.number].method[0].lower()
        for e in played.trace.events
    )


class Counts(Host):
    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        self.count += 1
        return 0


def test_the_thread_of_the_lowest_number_goes_first_and_threads_follow_when_it_ends() -> None:
    played = run(Counts, last(2), first(1), second(0), first(0))
    assert order(played) == "EePpPpDd" and Counts.made.count == 2
    assert [(h.to, h.why) for h in played.schedule] == [(1, "ended"), (2, "ended")]


def test_a_change_point_hands_over_between_the_load_and_the_store_of_one_line() -> None:
    steps = run(Counts, first(0)._replace(switches=()), first(1)).steps
    assert steps == (3, 3)  # the line, the store in it, the return
    counts = []
    for switch in range(steps[0] + 2):
        played = run(Counts, first(0, switch), first(1))
        counts.append(Counts.made.count)
        assert order(played) == ("PpPp" if switch in (0, 4) else "PPpp"), switch
    assert counts == [2, 2, 1, 2, 2]  # one of them lost an update


def test_functions_whose_code_is_equal_each_have_their_steps() -> None:
    lines = "class Same(Host):", "def Progress(self, *arguments):", "self.count += 1", "return 0"
    source = "\n".join("    " * min(depth, 2) + line for depth, line in enumerate(lines))
    for _ in range(2):
        names: dict[str, Any] = {"Host": Host, "__name__": __name__}
        exec(compile(source, __file__, "exec"), names)
        assert run(names["Same"], first(0), first(1)).steps == (3, 3)


def test_zero_lets_others_go_before_the_call_begins() -> None:
    assert order(run(Counts, first(0, 0), last(1))) == "DdPp"


class LockOrder(Host):
    def set_up(self) -> None:
        self.one, self.other = threading.Lock(), threading.RLock()

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        with self.one, self.other:
            return 0

    def Done(self, handle: Any, result: int) -> int:
        with self.other, self.one:
            return 0


def test_a_deadlock_is_seen_at_once_with_each_threads_stack() -> None:
    began = time.monotonic()
    deadlocks = []
    for switch in range(1, run(LockOrder, first(0), last(1)).steps[0] + 1):
        played = run(LockOrder, first(0, switch), last(1))
        deadlocks += [(played, seen) for seen in played.observations]
    assert time.monotonic() - began < 10  # no limit of time has a part in it
    ((played, seen),) = deadlocks
    assert seen.kind == "deadlock"
    assert "thread 0 at" in seen.message and "waits for a lock that thread 1 holds" in seen.message
    assert played.stack.count("Thread ") == 2 and "with self.one" in played.stack
    assert [call.outcome for call in played.trace.played] == [None, None]


def test_a_thread_that_waits_for_itself_is_a_deadlock() -> None:
    class Twice(Host):
        def Done(self, handle: Any, result: int) -> int:
            with self.lock, self.lock:
                return 0

        def set_up(self) -> None:
            self.lock = threading.Lock()

    (seen,) = run(Twice, last(0), first(1)).observations
    assert seen.kind == "deadlock" and "thread 0 at" in seen.message


class Waits(Host):
    """Progress waits for Done, in one of several ways."""

    def set_up(self) -> None:
        self.event = threading.Event()
        self.condition = threading.Condition()
        self.queue: queue.Queue[int] = queue.Queue()
        self.simple: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.semaphore = threading.Semaphore(0)
        self.done = False

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        self.event.wait()
        self.simple.get()
        self.semaphore.acquire()
        with self.condition:
            self.condition.wait_for(lambda: self.done)
        return self.queue.get()

    def Done(self, handle: Any, result: int) -> int:
        self.event.set()
        self.simple.put(1)
        self.semaphore.release()
        self.queue.put(7)
        with self.condition:
            self.done = True
            self.condition.notify_all()
        return 0


def test_whatever_a_thread_waits_for_others_go_on_meanwhile() -> None:
    played = run(Waits, first(0), last(1))
    assert [call.outcome.value for call in played.trace.played if call.outcome] == [7, 0]
    assert order(played)[:2] == "PD" and not played.observations


def test_a_wait_with_a_limit_ends_by_it_only_where_nothing_else_can_go_on() -> None:
    class Limited(Host):
        def set_up(self) -> None:
            self.event = threading.Event()
            self.queue: queue.Queue[int] = queue.Queue()
            self.waited: list[object] = []

        def Progress(self, text: str | None, index: int, maximum: int) -> int:
            began = time.monotonic()
            self.waited.append(self.event.wait(3600))
            try:
                self.queue.get(timeout=7200)
            except queue.Empty:
                self.waited.append("empty")
            self.waited.append(round(time.monotonic() - began))
            return 0

        def Done(self, handle: Any, result: int) -> int:
            self.event.set()
            return 0

    began = time.monotonic()
    run(Limited, first(0), last(1))
    assert Limited.made.waited == [True, "empty", 7200]
    run(Limited, first(0), first(1))
    assert Limited.made.waited == [False, False, "empty", 10800, "empty", 10800]
    assert time.monotonic() - began < 60


def test_a_sleep_lets_the_others_go_on_and_takes_no_time() -> None:
    class Sleeps(Host):
        def Progress(self, text: str | None, index: int, maximum: int) -> int:
            time.sleep(1000)
            return 0

    began = time.monotonic()
    assert order(run(Sleeps, first(0), last(1))) == "PDdp"
    assert time.monotonic() - began < 60


def test_a_thread_that_waits_by_turning_lets_the_others_go_on() -> None:
    class Turns(Host):
        def Progress(self, text: str | None, index: int, maximum: int) -> int:
            while not self.count:
                pass
            return 0

        def Error(self, result: int, text: str | None) -> int:
            while not self.count:
                pass
            return 0

        def Done(self, handle: Any, result: int) -> int:
            self.count = 1
            return 0

    for turning in (first, second):
        played = run(Turns, turning(0), last(1))
        assert order(played)[1:3] == "Dd" and played.schedule[0].why == "spin"


class Starts(Host):
    """A consumer from the beginning, and a thread for each Progress."""

    def set_up(self) -> None:
        self.queue: queue.Queue[str | None] = queue.Queue()
        self.seen: list[str | None] = []
        self.consumer = threading.Thread(target=self.consume, name="consumer", daemon=True)
        self.consumer.start()

    def consume(self) -> None:
        while True:
            self.seen.append(self.queue.get())

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        worker = threading.Thread(target=self.queue.put, args=(text,))
        worker.start()
        worker.join()
        assert not worker.is_alive() and self.consumer.is_alive()
        return 0


def test_threads_that_the_target_starts_are_scheduled_too() -> None:
    before = threading.active_count()
    for switch in range(8):
        played = run(Starts, first(0, switch), first(1), last(1))
        assert not played.observations, played.observations
        assert Starts.made.seen == ["a", "a"]
    Starts.made.consumer.join(10)  # the end of a sequence is that of its threads
    assert threading.active_count() <= before + 3  # those that make calls are kept


def test_a_pool_of_threads_is_scheduled_too() -> None:
    class Pools(Host):
        def set_up(self) -> None:
            self.pool = ThreadPoolExecutor(2)

        def Progress(self, text: str | None, index: int, maximum: int) -> int:
            return self.pool.submit(int, "5").result()

    played = run(Pools, first(0), first(1))
    assert [call.outcome.value for call in played.trace.played if call.outcome] == [5, 5]


def test_a_lock_of_the_module_is_known_too() -> None:
    class Shared(Host):
        def Progress(self, text: str | None, index: int, maximum: int) -> int:
            with MODULE_LOCK:
                self.count += 1
            return 0

    for switch in range(1, 6):
        assert not run(Shared, first(0, switch), first(1)).observations
        assert Shared.made.count == 2
    assert MODULE_LOCK.acquire(timeout=1)
    MODULE_LOCK.release()


@pytest.mark.parametrize(
    "one, other",
    [
        (lambda host: MODULE_LOCK, lambda host: SEEN),
        (lambda host: SEEN, lambda host: AGAIN["the same"][0]),
        (lambda host: GUARDED.lock, lambda host: GUARDED.lock),
        (lambda host: host.guarded.lock, lambda host: host.guarded.lock),
        (lambda host: in_closure(), lambda host: in_closure()),
    ],
    ids=["and a condition on it", "in a container", "in an instance", "that a dataclass makes", "in a closure"],
)
def test_a_lock_of_the_module_is_one_wherever_it_lies(
    one: Callable[[Any], Any], other: Callable[[Any], Any]
) -> None:
    class Shared(Host):
        def __init__(self) -> None:
            super().__init__()
            self.guarded = Guarded()

        def Progress(self, text: str | None, index: int, maximum: int) -> int:
            with one(self):
                self.count += 1
            return 0

        def Error(self, result: int, text: str | None) -> int:
            with other(self):
                self.count += 1
            return 0

    blocked = 0
    for switch in range(1, 7):
        played = run(Shared, first(0, switch), second(1))
        assert not played.observations
        assert Shared.made.count == 2
        blocked += any(over.why == "blocked" for over in played.schedule)
    assert blocked


def test_a_call_is_made_inside_another_where_the_target_calls_out() -> None:
    class Closes(Host):
        def Done(self, handle: Any, result: int) -> int:
            self.count += 1
            handle.close()
            self.count += 1
            return 0

        def Progress(self, text: str | None, index: int, maximum: int) -> int:
            return self.count

    done = Call("Done", (SYNC_EVENT, 0), 0, 0, (-1,))
    played = run(Closes, done, first(0))
    assert order(played) == "DPpd"
    assert [call.outcome.value for call in played.trace.played if call.outcome] == [0, 1]


def test_what_a_call_raises_is_its_outcome_and_others_go_on() -> None:
    class Raises(Host):
        def Progress(self, text: str | None, index: int, maximum: int) -> int:
            raise ValueError("no")

    played = run(Raises, first(0), last(1))
    assert [str(call.outcome.kind) for call in played.trace.played if call.outcome] == ["raised", "returned"]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
@given(st.data())
def test_the_same_calls_give_the_same_run_and_its_trace_gives_it_again(data: st.DataObject) -> None:
    calls = data.draw(
        st.lists(
            st.builds(
                lambda make, thread, switches: make(thread, *switches),
                st.sampled_from([first, second, last]),
                st.integers(0, 2),
                st.lists(st.integers(0, 8), max_size=2),
            ),
            min_size=1,
            max_size=6,
        )
    )

    class Both(LockOrder):
        def Error(self, result: int, text: str | None) -> int:
            self.count += 1
            return self.count

    given = Trace.from_calls(calls, Header(scheduled=True))
    once, again = play(given, object_target(Both)), play(given, object_target(Both))
    assert once == again
    replayed = play(once.trace, object_target(Both))
    assert (replayed.trace.events, replayed.schedule) == (once.trace.events, once.schedule)


def test_a_scheduled_trace_is_played_the_same_in_a_child() -> None:
    calls = [first(0, 2), first(1), last(0), last(1, 1)]
    trace = Trace.from_calls(calls, Header(scheduled=True))
    with Isolated("targets.clean:Host") as isolated, open_player("targets.clean:Host", isolate=False) as here:
        there, played = isolated.play(trace), here.play(trace)
        assert there.trace.events == played.trace.events and there.trace.header.scheduled
        assert (there.schedule, there.steps) == (played.schedule, played.steps)
        assert [run.trace.events for run in isolated.play_many([trace, trace])] == [played.trace.events] * 2


def test_without_a_schedule_calls_of_several_threads_are_made_one_after_the_other() -> None:
    played = play([first(0, 2), first(1)], object_target(Counts))
    assert order(played) == "PpPp" and not played.trace.header.scheduled and not played.schedule


@pytest.mark.parametrize("attempt", range(2))
def test_a_deadlock_leaves_nothing_behind_for_the_next_sequence(attempt: int) -> None:
    for switch in range(1, 6):
        run(LockOrder, first(0, switch), last(1))
    assert order(run(Counts, first(0), first(1))) == "PpPp" and Counts.made.count == 2
