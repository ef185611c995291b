"""Calls that ran at the same time are judged by the same ones one after the other; correct hosts are let alone."""

from __future__ import annotations

import datetime
import itertools
import queue
import random
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sequences import CALLBACK, QuietHost, calls
from targets.threads import callback_under_lock, lazy_list, one_consumer, one_lock, snapshots, unlocked_pair

from recorder.calls import Call, Enter, Header, Leave, Outcome, Trace
from recorder.contract import Level
from replayer.isolation import Here
from replayer.oracles import Finding, Judge
from replayer.player import PlayOptions, Run, play
from replayer.target import object_target
from replayer.verdict import Status, replay_trace

LINES = (
    'Progress("a", 0, 1)',
    'Progress("b", 1, 2)',
    "Progress(NULL, 3, 4)",
    'Error(E_FAIL, "x")',
    'Error(MAPI_E_NETWORK_ERROR, "y")',
    "Done(sync-event, S_OK)",
)


def on(thread: int, line: str, *switches: int) -> Call:
    (call,) = calls(line)
    return call._replace(thread=thread, switches=switches)


def played(host: Callable[[], Any], *sequence: Call, **options: Any) -> Run:
    trace = Trace.from_calls(sequence, Header(interface=CALLBACK, scheduled=True))
    return play(trace, object_target(host, CALLBACK), PlayOptions(**options))


def findings(run: Run) -> list[Finding]:
    return Judge.of(run.trace).findings(run)


def at_random(chance: random.Random) -> list[Call]:
    """A few calls of two or three threads, with a few change points."""
    threads = chance.choice((2, 3))
    return [
        on(
            chance.randrange(threads),
            chance.choice(LINES),
            *sorted({chance.randint(1, 30) for _ in range(chance.choice((0, 0, 1, 2)))}),
        )
        for _ in range(chance.randint(2, 6))
    ]


def everything(host: Callable[[], Any], times: int) -> list[tuple[Run, list[Finding]]]:
    chance = random.Random(5)
    runs = [played(host, *at_random(chance)) for _ in range(times)]
    return [(run, findings(run)) for run in runs]


# ------------------------------------------------------------------------------------------------- what is found


class Counts(QuietHost):
    """Loses a count when another thread comes between reading and storing it."""

    def __init__(self) -> None:
        self.count = 0

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        count = self.count
        self.count = count + 1
        return 0


REPORT = "Progress(NULL, 0, 1)"


def test_a_lost_update_is_found_and_told_by_what_is_missing() -> None:
    run = played(Counts, on(0, REPORT, 2), on(1, REPORT))
    (finding,) = findings(run)
    assert (finding.code, finding.oracle, finding.method) == ("X15", "lost-update", "")
    assert finding.message == "count: as if call 0 had not been made (count is 1, not 2)"
    assert finding.level is Level.LENIENT and finding.broken == ("P20",)
    assert findings(played(Counts, on(0, REPORT), on(1, REPORT))) == []


def test_a_state_that_no_order_leaves_is_found() -> None:
    first, second = on(0, "Progress(NULL, 0, 1)", 3), on(1, "Progress(NULL, 1, 2)")
    (finding,) = findings(played(unlocked_pair.Host, first, second))
    assert (finding.code, finding.oracle) == ("X16", "linearizability")
    assert finding.message == "index: as after no order of the same calls (index is 1, not 0)"


def test_several_updates_may_be_lost_at_once() -> None:
    others = [on(1, 'Error(E_FAIL, "")') for _ in range(3)]
    (finding,) = findings(played(lazy_list.Host, on(0, 'Error(E_FAIL, "")', 3), *others))
    assert finding.code == "X15" and "call 1 and call 2" in finding.message


def test_one_bug_is_one_finding_wherever_threads_came_between() -> None:
    buckets = {finding.bucket for _, found in everything(unlocked_pair.Host, 200) for finding in found}
    assert buckets == {("consistency", "", "index")}


def test_the_place_is_where_a_thread_came_between() -> None:
    (finding,) = findings(played(Counts, on(0, REPORT, 2), on(1, REPORT)))
    (elsewhere,) = findings(played(Counts, on(1, REPORT), on(0, REPORT, 2), on(1, REPORT)))
    assert finding.place.startswith("test_judgement.py:") and finding.place.endswith(" in Progress")
    assert finding.fingerprint == elsewhere.fingerprint and finding.likeness == elsewhere.likeness


def test_whether_a_kept_finding_is_gone_is_not_known_where_it_cannot_be_judged() -> None:
    sequence = [on(0, REPORT), on(1, REPORT)]
    header = Header(
        interface=CALLBACK,
        scheduled=True,
        provenance={"finding": {"code": "X16", "oracle": "linearizability"}},
    )
    trace = Trace.from_calls(sequence, header)
    verdict = replay_trace(trace, Here(object_target(Meets, CALLBACK)), Judge.of(trace))
    assert (verdict.status, verdict.message) == (Status.ERROR, "whether X16 is gone is not known")
    (note,) = verdict.notes
    assert note.startswith("whether its calls came to what they may is not known: gave up: ")
    mended = replay_trace(trace, Here(object_target(QuietHost, CALLBACK)), Judge.of(trace))
    assert (mended.status, mended.notes) == (Status.FIXED, ())


# ------------------------------------------------------------------------------------------------- deadlocks


def test_who_only_waits_for_a_deadlock_is_no_part_of_it() -> None:
    problem, report = 'Error(E_FAIL, "")', "Progress(NULL, 0, 1)"
    alone = [on(0, problem, -1), on(0, report)]
    (finding,) = findings(played(callback_under_lock.Host, *alone))
    (beside,) = findings(played(callback_under_lock.Host, *alone, on(1, problem), on(2, report)))
    assert finding.code == "X14" and finding.bucket == beside.bucket


class Meets(QuietHost):
    """Each report waits for another one."""

    def __init__(self) -> None:
        self.barrier = threading.Barrier(2, timeout=5)

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        try:
            self.barrier.wait()
        except threading.BrokenBarrierError:
            return 1
        return 0


class Answers(QuietHost):
    """Answers how often it was called, by a count that it looks at twice."""

    def __init__(self) -> None:
        self._count = itertools.count(1)
        self._latest = 0

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        self._latest = next(self._count)
        return self._latest

    def state(self) -> None:
        return None


def test_answers_that_no_order_gives_are_found() -> None:
    (finding,) = findings(played(Answers, on(0, REPORT, 3), on(1, REPORT)))
    assert finding.oracle in ("linearizability", "lost-update")
    assert "no order lets these calls answer as they did" in finding.message
    assert findings(played(Answers, on(0, REPORT), on(1, REPORT, 1))) == []


class Keeps(QuietHost):
    """Shows the latest report, and afterwards how many there were, which it counts when it has shown one."""

    def __init__(self) -> None:
        self.shown = self.reports = 0

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        reports = self.reports
        self.pump()
        self.reports = reports + 1
        return 0

    def pump(self) -> None:
        """Where messages are let through."""


def test_calls_in_a_recorded_order_are_judged_too() -> None:
    outer, inner = on(0, REPORT), on(0, REPORT)
    nested = (Enter(0, outer), Enter(1, inner), Leave(1, Outcome()), Leave(0, Outcome()))
    trace = Trace(Header(interface=CALLBACK), nested)
    (finding,) = findings(play(trace, object_target(Keeps, CALLBACK)))
    assert finding.message == "reports: as if call 0 had not been made (reports is 1, not 2)"
    skip = PlayOptions(skip=("linearizability", "lost-update"))
    assert findings(play(trace, object_target(Keeps, CALLBACK), skip)) == []
    assert findings(play(trace, object_target(one_lock.Host, CALLBACK))) == []


def test_very_many_calls_are_not_judged() -> None:
    sequence = [on(number % 2, REPORT, 1) for number in range(502)]
    assert played(Counts, *sequence).unjudged == "gave up: there are more than 500 calls"


def test_it_is_not_looked_for_where_nobody_wants_to_know() -> None:
    run = played(Counts, on(0, REPORT, 2), on(1, REPORT), skip=("linearizability", "lost-update"))
    assert findings(run) == []


# ------------------------------------------------------------------------------------------------- what is fine


class Stamps(QuietHost):
    """Keeps times, random numbers and addresses."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.log: list[Any] = []
        self.names: dict[str, int] = {}
        self.address = id(self)
        self.began = time.time()
        self.took = 0.0

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        with self.lock:
            self.log.append((index, int(time.time()), datetime.datetime.now(), random.random()))
            self.names[uuid.uuid4().hex] = index
            self.took = time.time() - self.began
        return 0


class Sleeps(QuietHost):
    """Keeps how long a call took, which it sleeps in, while others wait for its lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.took: list[float] = []

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        began = time.monotonic()
        with self.lock:
            time.sleep(1)
            self.took.append(time.monotonic() - began)
        return 0


class Waits(QuietHost):
    """Its end waits for the first report, or until it has waited for long enough."""

    seconds: float | None = 5

    def __init__(self) -> None:
        self.lock = threading.Condition()
        self.reports = 0

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        with self.lock:
            self.reports += 1
            self.lock.notify_all()
        return 0

    def Done(self, handle: Any, result: int) -> int:
        with self.lock:
            self.lock.wait_for(lambda: self.reports, self.seconds)
        return 0


class Consumer(QuietHost):
    """Has a thread that takes reports out of a queue."""

    def __init__(self) -> None:
        self.queue: queue.Queue[int] = queue.Queue()
        self.shown: list[int] = []
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        while True:
            self.shown.append(self.queue.get())

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        self.queue.put(index)
        return 0


class Polls(QuietHost):
    """Has a thread that looks now and then, and a timer for each error."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.reports = self.shown = self.errors = 0
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        while not self.ended.wait(0.1):
            with self.lock:
                self.shown = self.reports

    def count(self) -> None:
        with self.lock:
            self.errors += 1

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        with self.lock:
            self.reports += 1
        return 0

    def Error(self, result: int, text: str | None) -> int:
        threading.Timer(2, self.count).start()
        return 0

    def Done(self, handle: Any, result: int) -> int:
        self.ended.set()
        return 0


class Pool(QuietHost):
    """Has its work done by a pool of one thread."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(1)
        self.sum = 0

    def add(self, index: int) -> None:
        self.sum += index

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        self.pool.submit(self.add, index)
        return 0


class Deep(QuietHost):
    """Keeps much, and deep."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.chain: Any = None
        self.diamonds: Any = 1

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        with self.lock:
            for _ in range(50):
                self.chain = [self.chain, index]
            self.diamonds = [self.diamonds, self.diamonds]
        return 0


class Tickets(QuietHost):
    """Answers by what all of its kind have in common, and what each thread has for itself."""

    tickets = itertools.count()
    total = 0

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.own = threading.local()
        self.latest: Any = None

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        with self.lock:
            Tickets.total += 1
            self.own.count = getattr(self.own, "count", 0) + 1
            self.latest = Tickets.total, threading.get_ident(), threading.current_thread().name
        return next(Tickets.tickets)

    def Error(self, result: int, text: str | None) -> int:
        return int(getattr(self.own, "count", 0))


CORRECT: Sequence[Any] = (
    one_lock.Host,
    snapshots.Host,
    one_consumer.Host,
    Stamps,
    Sleeps,
    Waits,
    Consumer,
    Polls,
    Pool,
    Deep,
    Tickets,
)


@pytest.mark.parametrize("host", CORRECT, ids=lambda host: f"{host.__module__.rpartition('.')[2]}.{host.__name__}")
@pytest.mark.parametrize("times", [12, pytest.param(400, marks=pytest.mark.slow)])
def test_correct_hosts_are_left_alone(host: Callable[[], Any], times: int) -> None:
    for run, found in everything(host, times):
        assert not found, (found, run.trace.calls)
        assert not run.unjudged


def test_no_play_has_the_address_of_the_one_before() -> None:
    """What a host keeps of addresses would look as if it were the same each time."""

    class Host(QuietHost):
        addresses: list[int] = []  # noqa: RUF012 - all instances'
        kept: list[object] = []  # noqa: RUF012 - those of the runs themselves: no play may have their address

        def __init__(self) -> None:
            self.lock = threading.Lock()
            self.count = 0
            self.address = id(self)
            if not self.addresses:
                self.kept.append(self)
            self.addresses.append(self.address)

        def Progress(self, text: str | None, index: int, maximum: int) -> int:
            with self.lock:
                self.count += 1
            return 0

    for step in (1, 2, 3) * 12:
        Host.addresses.clear()
        assert findings(played(Host, on(0, REPORT, step), on(1, REPORT))) == []
        assert len(Host.addresses) > 2  # the run itself, and plays to judge it by
        assert all(one != other for one, other in itertools.pairwise(Host.addresses))


def test_where_calls_need_each_other_it_says_that_it_cannot_judge() -> None:
    run = played(Meets, on(0, REPORT), on(1, REPORT))
    assert findings(run) == []
    assert run.unjudged == "gave up: the calls cannot be made one after the other, since they block"


def test_what_goes_wrong_one_after_the_other_is_not_this_runs() -> None:
    class Waves(QuietHost):
        """Started threads fail where nobody else was there meanwhile."""

        def __init__(self) -> None:
            self.inside = self.most = 0
            self.lock = threading.Lock()

        def Progress(self, text: str | None, index: int, maximum: int) -> int:
            with self.lock:
                self.inside += 1
                self.most = max(self.most, self.inside)
            with self.lock:
                self.inside -= 1
                if self.most < 2:
                    threading.Thread(target=self.fail).start()
            return 0

        def fail(self) -> None:
            raise ValueError("alone")

    run = played(Waves, on(0, REPORT, 6), on(1, REPORT))
    assert [seen.kind for seen in run.observations if seen.kind == "thread-exception"] == []
