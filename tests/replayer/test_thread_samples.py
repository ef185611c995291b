"""The samples for threads are what they say: the wrong ones are right for calls one after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sequences import CALLBACK, calls

from recorder.contract import contract_of
from replayer.oracles import Judge
from replayer.player import PlayOptions, play
from replayer.target import load_target

WRONG = (
    "callback_under_lock",
    "checks_then_acts",
    "closes_in_a_race",
    "drained_after_done",
    "lazy_list",
    "lock_order",
    "unlocked_pair",
)
CORRECT = ("one_consumer", "one_lock", "snapshots")

SHORTEST = {  # the code, the first call's switch, the other call's thread
    "callback_under_lock": ("X14", -1, 0, ("Error(E_FAIL, NULL)", "Progress(NULL, 0, 1)")),
    "checks_then_acts": ("X16", 4, 1, ("Done(NULL, S_OK)", "Error(E_FAIL, NULL)")),
    "closes_in_a_race": ("H14", 2, 1, ("Done(sync-event, S_OK)", "Done(sync-event, S_OK)")),
    "drained_after_done": ("X16", 2, 1, ("Progress(NULL, 0, 1)", "Done(NULL, S_OK)")),
    "lazy_list": ("X15", 3, 1, ("Error(E_FAIL, NULL)", "Error(E_FAIL, NULL)")),
    "lock_order": ("X14", 2, 1, ("Progress(NULL, 0, 1)", "Error(E_FAIL, NULL)")),
    "unlocked_pair": ("X16", 3, 1, ("Progress(NULL, 0, 1)", "Progress(NULL, 1, 2)")),
}

EVERYTHING = (
    'Progress("Inbox", 0, 2)',
    'Error(E_FAIL, "one")',
    "Progress(NULL, 1, 2)",
    "Error(S_FALSE, NULL)",
    'Progress("Outbox", 0, 0)',
    "Done(sync-event, S_OK)",
    "Done(sync-event, E_FAIL)",
    'Error(E_FAIL, "late")',
    "Progress(NULL, 9, 9)",
    "Done(handle(1), S_OK)",
)


def host(name: str) -> Any:
    return load_target(f"targets.threads.{name}:Host", CALLBACK).instance().object


@pytest.mark.parametrize("name", [*WRONG, *CORRECT])
def test_nothing_is_wrong_with_one_call_after_the_other(name: str) -> None:
    judge = Judge(contract_of(CALLBACK), slow=5)  # a busy machine is not the host's fault
    target = load_target(f"targets.threads.{name}:Host", CALLBACK)
    spread = [call._replace(thread=number % 3) for number, call in enumerate(calls(*EVERYTHING))]

    assert judge.findings(play(spread, target)) == []


@pytest.mark.parametrize("name", WRONG)
def test_the_shortest_schedule_shows_the_bug_and_the_calls_without_it_do_not(name: str) -> None:
    code, switch, thread, texts = SHORTEST[name]
    one, other = calls(*texts)
    target = load_target(f"targets.threads.{name}:Host", CALLBACK)
    judge = Judge(contract_of(CALLBACK), slow=5)

    def findings(*switches: int) -> list[str]:
        together = [one._replace(switches=switches), other._replace(thread=thread)]
        return [finding.code for finding in judge.findings(play(together, target, PlayOptions(concurrent=True)))]

    assert (findings(switch), findings()) == ([code], [])


class Handle:
    """A handle that counts how often it was closed, and lets the provider call meanwhile."""

    def __init__(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.meanwhile, self.closed = meanwhile, 0

    def close(self) -> None:
        self.closed += 1
        self.meanwhile()


@pytest.mark.parametrize("name", CORRECT)
def test_a_correct_one_loses_nothing_between_real_threads(name: str) -> None:
    correct, together = host(name), threading.Barrier(4)
    handles = [Handle() for _ in range(4)]

    def sync(number: int) -> None:
        together.wait()
        for index in range(25):
            correct.Progress(f"thread {number}" if index % 5 == 0 else None, index, 100 + index)
            correct.Error(number, None)
        before = correct.state()["problems"]
        together.wait()
        assert before <= correct.state()["problems"] == 100
        correct.Done(handles[number], number)
        correct.Progress("late", 1, 1)
        correct.Error(number, None)

    failed: list[BaseException] = []

    def run(number: int) -> None:
        try:
            sync(number)
        except BaseException as error:
            failed.append(error)
            together.abort()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    state = correct.state()
    assert failed == []
    assert [handle.closed for handle in handles] == [number == state["result"] for number in range(4)]
    index, maximum = state["position"]
    assert (state["problems"], maximum - index) == (100, 100) and state["text"].startswith("thread ")


@pytest.mark.parametrize("name", CORRECT)
def test_a_correct_one_takes_calls_while_it_calls_out(name: str) -> None:
    correct = host(name)

    def call_back() -> None:
        correct.Progress("late", 1, 1)
        correct.Done(handle, 7)

    handle = Handle(call_back)
    correct.pump = lambda: correct.Progress("meanwhile", 3, 4)
    correct.Error(1, None)
    correct.Done(handle, 5)

    shown = ("", (0, 0)) if name == "one_consumer" else ("meanwhile", (3, 4))  # it has no box of its own
    state = correct.state()
    assert (handle.closed, state["problems"], state["result"]) == (1, 1, 5)
    assert (state["text"], state["position"]) == shown


def test_a_deadlock_is_seen_where_another_thread_comes_to_its_end_last() -> None:
    target = load_target("targets.threads.callback_under_lock:Host", CALLBACK)
    report, *problems = calls("Progress(NULL, 0, 1)", "Error(E_FAIL, NULL)", "Error(E_FAIL, NULL)")
    nesting, nested = (problem._replace(thread=1) for problem in problems)
    inside = [report._replace(switches=(2,)), nesting._replace(switches=(-1,)), nested]

    run = play(inside, target, PlayOptions(concurrent=True))

    (finding,) = Judge(contract_of(CALLBACK), slow=5).findings(run)
    assert (finding.code, finding.message) == (
        "X14",
        "thread 1 at callback_under_lock.py:37 in Error waits for a lock that thread 1 holds",
    )


def test_steps_are_counted_from_the_first_time_on_however_many_targets_came_before() -> None:
    def steps(name: str) -> tuple[int, ...]:
        target = load_target(f"targets.threads.{name}:Host", CALLBACK)
        return play(together, target, PlayOptions(concurrent=True)).steps

    together = [
        call._replace(thread=n) for n, call in enumerate(calls("Progress(NULL, 1, 2)", 'Error(E_FAIL, "")'))
    ]
    first, second = ({name: steps(name) for name in (*WRONG, *CORRECT)} for _ in range(2))
    assert first == second and all(min(made) > 0 for made in first.values())


def test_who_waits_behind_a_deadlock_has_no_part_in_it() -> None:
    target = load_target("targets.threads.callback_under_lock:Host", CALLBACK)
    error, progress = calls('Error(E_FAIL, "")', "Progress(NULL, 1, 2)")
    schedule = [error._replace(switches=(-1,)), progress, error._replace(thread=1)]
    run = play(schedule, target, PlayOptions(concurrent=True))

    (seen,) = run.observations
    assert (seen.kind, seen.place) == ("deadlock", "callback_under_lock.py:31 in Progress")
    assert run.stack.count("waiting for a lock") == 2 and not run.held


def test_a_lock_that_outlives_its_deadlock_is_told() -> None:
    target = load_target("targets.keeps_module_lock:Host", CALLBACK)
    progress, error = calls("Progress(NULL, 1, 2)", 'Error(E_FAIL, "")')
    released, kept = (
        play([call._replace(switches=(-1,)), call], target, PlayOptions(concurrent=True))
        for call in (error, progress)
    )

    assert [run.observations[0].kind for run in (released, kept)] == ["deadlock", "deadlock"]
    assert (released.held, kept.held) == (False, True)


def test_of_two_ends_at_the_same_time_only_the_first_one_owes_its_handle() -> None:
    """Which of them is the first is the host's to say: it closes one handle, and the other one is late."""
    target = load_target("replayer.samples.send_receive:SendReceiveDialog", CALLBACK)
    one, other = calls("Done(sync-event, S_OK)", "Done(handle(1), S_OK)")
    judge = Judge(contract_of(CALLBACK), slow=5)
    for step in range(8):
        racing = [one._replace(switches=(step,)), other._replace(thread=1)]
        assert judge.findings(play(racing, target, PlayOptions(concurrent=True))) == []
