"""The sample hosts: what the dialog shows, that nothing breaks it, and what breaks the hasty one."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder import hresult
from recorder.calls import SYNC_EVENT, Call
from recorder.contract import CONTRACTS, Level, level_of
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK
from recorder.samples import mail_folders
from replayer.samples.send_receive import (
    MAX_PROBLEMS,
    MAX_TEXT,
    HastyPace,
    HastySendReceiveDialog,
    Pace,
    SendReceiveDialog,
)

E_FAIL = hresult.parse("E_FAIL")
MAPI_E_NOT_ENOUGH_DISK = hresult.parse("MAPI_E_NOT_ENOUGH_DISK")
MAPI_E_USER_CANCEL = hresult.parse("MAPI_E_USER_CANCEL")
MAPI_W_PARTIAL_COMPLETION = hresult.parse("MAPI_W_PARTIAL_COMPLETION")
ULONG_MAX = 2**32 - 1


class SyncEvent:
    """A handle that counts how often it is closed."""

    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


def progress(text: str | None, index: int, maximum: int) -> Call:
    return Call("Progress", (text, index, maximum))


def error(result: int, text: str | None) -> Call:
    return Call("Error", (result, text))


def done(handle: Any, result: int) -> Call:
    return Call("Done", (handle, result))


def play(host: Any, calls: Sequence[Call]) -> None:
    """Make the calls; each must return S_OK and leave what is shown in order."""
    for call in calls:
        assert getattr(host, call.method)(*call.args) == hresult.S_OK
        host.invariant()


def shown(calls: Sequence[Call]) -> dict[str, Any]:
    dialog = SendReceiveDialog()
    play(dialog, calls)
    return dialog.state()


@pytest.mark.parametrize(
    ("calls", "state"),
    [
        ([], {"status": "waiting", "result": None, "step": "", "percent": 0, "problems": []}),
        ([progress("Inbox", 1, 4)], {"status": "running", "step": "Inbox", "percent": 25}),
        ([progress("Inbox", 1, 4), progress(None, 3, 4)], {"step": "Inbox", "percent": 75}),
        ([progress("Inbox", 1, 4), progress("", 3, 4)], {"step": "", "percent": 75}),
        ([progress(None, 1, 3)], {"step": "", "percent": 33}),
        ([progress(None, 0, 0)], {"percent": 0}),
        ([progress(None, 5, 0)], {"percent": 0}),
        ([progress(None, 5, 4)], {"percent": 100}),
        ([progress(None, ULONG_MAX, 1)], {"percent": 100}),
        ([progress(None, ULONG_MAX - 1, ULONG_MAX)], {"percent": 99}),
        ([progress(None, 42949673, 42949673)], {"percent": 100}),
        ([progress(None, 3, 4), progress(None, 1, 4)], {"percent": 25}),
        ([error(E_FAIL, "No")], {"status": "running"}),
        ([done(None, 0)], {"status": "succeeded", "result": 0}),
        ([done(None, 1)], {"status": "succeeded with warnings"}),
        ([done(None, MAPI_W_PARTIAL_COMPLETION)], {"status": "succeeded with warnings"}),
        ([done(None, E_FAIL)], {"status": "failed", "result": E_FAIL}),
        ([done(None, 0x80004005)], {"status": "failed", "result": E_FAIL}),
        ([done(None, MAPI_E_USER_CANCEL)], {"status": "cancelled"}),
        ([error(E_FAIL, "No"), done(None, 0)], {"status": "succeeded"}),
        ([error(0, "Fine"), done(None, E_FAIL)], {"status": "failed"}),
        ([done(SYNC_EVENT, 0)], {"status": "succeeded"}),
        ([done(0xDEAD, 0)], {"status": "succeeded"}),
    ],
)
def test_what_is_shown(calls: list[Call], state: dict[str, Any]) -> None:
    full = shown(calls)
    assert {key: full[key] for key in state} == state


@pytest.mark.parametrize(
    ("result", "severity"),
    [
        (E_FAIL, "error"),
        (hresult.signed(0xC0000005), "error"),
        (hresult.signed(0xFFFFFFFF), "error"),
        (0x80004005, "error"),
        (0, "information"),
        (1, "warning"),
        (MAPI_W_PARTIAL_COMPLETION, "warning"),
        (0x0000052E, "warning"),
    ],
)
def test_a_problem_has_the_severity_of_its_code(result: int, severity: str) -> None:
    (problem,) = shown([progress("Inbox", 0, 1), error(result, "text")])["problems"]
    assert problem == {
        "result": hresult.signed(result),
        "severity": severity,
        "text": "text",
        "step": "Inbox",
    }


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("100% {0} %s %n <b>", "100% {0} %s %n <b>"),
        ("Entwürfe 受信箱 👩‍🚀", "Entwürfe 受信箱 👩‍🚀"),
        ("a\r\nb\tc\x00\x1b[2J", "a��b�c��[2J"),
        ("\u202eexe.txt\u2066", "�exe.txt�"),
        ("\ud800x\udfff", "�x�"),
        ("x" * MAX_TEXT, "x" * MAX_TEXT),
        ("x" * (MAX_TEXT + 1), "x" * (MAX_TEXT - 1) + "…"),
        ("\n" * 100_000, "�" * (MAX_TEXT - 1) + "…"),
    ],
)
def test_a_text_is_data_on_one_line(text: str, line: str) -> None:
    state = shown([progress(text, 0, 1), error(E_FAIL, text)])
    assert state["step"] == state["problems"][0]["text"] == line


def test_a_problem_without_a_text_shows_its_code() -> None:
    assert shown([error(E_FAIL, None)])["problems"][0]["text"] == "0x80004005 E_FAIL"


def test_a_flood_of_problems_is_counted_not_kept() -> None:
    state = shown([error(E_FAIL, str(n)) for n in range(MAX_PROBLEMS + 50)])
    assert [problem["text"] for problem in state["problems"]] == [str(n) for n in range(MAX_PROBLEMS)]
    assert state["problems_dropped"] == 50


@pytest.mark.parametrize(
    ("reports", "calls_left"),
    [
        ([], None),
        ([(1, 10)], None),
        ([(1, 10), (1, 10)], None),
        ([(1, 10), (2, 10)], 8),
        ([(0, 10), (4, 10)], 2),
        ([(0, 10), (3, 10)], 3),
        ([(5, 10), (2, 10)], None),
        ([(0, 10), (10, 10)], 0),
        ([(0, 10), (12, 10)], 0),
        ([(0, 10), (5, 10), (1, 20)], None),
        ([(n, 100) for n in range(50)] + [(59, 100)], 26),
    ],
)
def test_the_rest_is_estimated_from_the_calls(reports: list[tuple[int, int]], calls_left: int | None) -> None:
    assert shown([progress(None, *report) for report in reports])["calls_left"] == calls_left


def test_a_problem_starts_the_estimate_afresh() -> None:
    calls = [progress(None, 0, 10), progress(None, 1, 10), error(E_FAIL, "No"), progress(None, 2, 10)]
    assert shown(calls)["calls_left"] is None
    assert shown([*calls, progress(None, 4, 10)])["calls_left"] == 3


def test_the_event_is_closed_once() -> None:
    event, other = SyncEvent(), SyncEvent()
    play(SendReceiveDialog(), [done(event, 0), done(event, 0), done(other, E_FAIL)])
    assert (event.closed, other.closed) == (1, 0)


def test_an_event_that_cannot_be_closed_is_no_drama() -> None:
    class Stale(SyncEvent):
        def close(self) -> None:
            raise OSError(9, "Bad file descriptor")

    assert shown([done(Stale(), 0)])["status"] == "succeeded"


def test_late_calls_change_nothing() -> None:
    dialog = SendReceiveDialog()
    play(dialog, [progress("Inbox", 1, 2), error(E_FAIL, "No"), done(None, 0)])
    before = dialog.state()
    play(dialog, [progress("Late", 2, 2), error(E_FAIL, "Late"), done(SyncEvent(), E_FAIL)])
    assert dialog.state() == before


def test_two_dialogs_do_not_mix() -> None:
    one, two = SendReceiveDialog(), SendReceiveDialog()
    play(one, [progress("One", 1, 2), error(E_FAIL, "No"), done(None, E_FAIL)])
    assert two.state() == SendReceiveDialog().state()


def test_the_dialog_may_be_called_back_while_it_closes_the_event() -> None:
    dialog = SendReceiveDialog()

    class Nosy(SyncEvent):
        def close(self) -> None:
            super().close()
            play(dialog, [progress("Late", 1, 1), done(self, 0)])

    event = Nosy()
    play(dialog, [done(event, 0)])
    assert event.closed == 1


def test_many_threads_may_call() -> None:
    dialog, event = SendReceiveDialog(), SyncEvent()
    calls = [progress("Inbox", n, 200) for n in range(200)] + [error(E_FAIL, "No")] * 20 + [done(event, 0)]
    failures: list[BaseException] = []

    def run() -> None:
        try:
            play(dialog, calls)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert event.closed == 1
    assert dialog.state()["status"] == "succeeded"


# --- Any calls at all

ulongs = st.integers(0, ULONG_MAX) | st.sampled_from([0, 1, 2, 99, 100, 101, 2**31, ULONG_MAX])
hresults = st.integers(-(2**31), ULONG_MAX) | st.sampled_from(sorted(hresult.NAMES))
texts = st.none() | st.text(st.characters(categories=None), max_size=400)
handles = st.none() | st.integers(-2, 2**64) | st.builds(SyncEvent) | st.just(SYNC_EVENT)
any_calls = st.lists(
    st.builds(progress, texts, ulongs, ulongs)
    | st.builds(error, hresults, texts)
    | st.builds(done, handles, hresults),
    max_size=40,
)


@given(any_calls)
def test_no_calls_break_the_dialog(calls: list[Call]) -> None:
    dialog = SendReceiveDialog()
    play(dialog, calls)
    assert 0 <= dialog.percent <= 100
    results: list[Any] = [call.args[1] for call in calls if call.method == "Done"]
    assert dialog.result == (hresult.signed(results[0]) if results else None)


@given(any_calls)
def test_the_first_event_is_closed_once_and_no_other(calls: list[Call]) -> None:
    play(SendReceiveDialog(), calls)
    given_handles: list[Any] = [call.args[0] for call in calls if call.method == "Done"]
    events = [handle for handle in given_handles if isinstance(handle, SyncEvent)]
    first = events[:1] if events[:1] == given_handles[:1] else []
    assert [event for event in events if event.closed] == first
    assert all(event.closed <= 1 for event in events)


@given(any_calls)
def test_the_same_calls_show_the_same(calls: list[Call]) -> None:
    assert shown(calls) == shown(calls)


@given(st.lists(st.tuples(ulongs, ulongs), max_size=40))
def test_an_estimate_is_never_negative(reports: list[tuple[int, int]]) -> None:
    pace = Pace()
    for report in reports:
        pace.report(*report)
        left = pace.calls_left()
        assert left is None or left >= 0


# --- The hasty one

REAL_RUN = [
    progress("Connecting to 127.0.0.1:36255", 0, 0),
    progress("Logging on as probe", 0, 0),
    *(progress(f"Folder {n}", n, 15) for n in range(1, 16)),
    *(progress(None if n % 5 else f"[/]: message {n} of 60", n, 60) for n in range(60)),
    progress("Synchronizing Drafts", 38, 60),
    error(hresult.parse("E_ACCESSDENIED"), "Drafts: Permission denied"),
    progress("Synchronizing INBOX", 38, 60),
    progress(None, 60, 60),
    done(SYNC_EVENT, MAPI_W_PARTIAL_COMPLETION),
]
OVER_QUOTA = [
    call
    for n in range(1, 21)
    for call in (progress(f"Sending message {n} of 20", n, 20), error(MAPI_E_NOT_ENOUGH_DISK, "over quota"))
] + [progress(None, 1, 1), done(SYNC_EVENT, MAPI_W_PARTIAL_COMPLETION)]
"""As captured from a real server: a problem with each message, the last one too, then another step."""

SHORTEST = [
    progress("Sending message 1 of 1", 1, 1),
    error(MAPI_E_NOT_ENOUGH_DISK, "Quota exceeded"),
    progress("Message 1 is kept for later", 1, 1),
]


@pytest.mark.parametrize("calls", [REAL_RUN, OVER_QUOTA, SHORTEST[:2]], ids=["real", "quota", "no retry"])
@pytest.mark.parametrize("host", [SendReceiveDialog, HastySendReceiveDialog])
def test_both_dialogs_take_real_runs(host: type[SendReceiveDialog], calls: list[Call]) -> None:
    play(host(), calls)


TOOLS = {"MailStore", "generate_account", "start_sync", "synchronise"}


@pytest.mark.parametrize("scenario", sorted(set(mail_folders.__all__) - TOOLS))
def test_the_hasty_dialog_takes_what_our_provider_does(scenario: str) -> None:
    dialog = HastySendReceiveDialog()
    getattr(mail_folders, scenario)(dialog)
    dialog.invariant()
    assert dialog.result is not None


def test_the_hasty_dialog_fails_on_a_conforming_sequence() -> None:
    play(SendReceiveDialog(), SHORTEST)
    with pytest.raises(ZeroDivisionError):
        play(HastySendReceiveDialog(), SHORTEST)
    whole = [*SHORTEST, done(None, MAPI_E_NOT_ENOUGH_DISK)]
    assert level_of(CONTRACTS[IMAPI_SYNC_PROGRESS_CALLBACK.iid], whole) is Level.CONFORMING


@pytest.mark.parametrize("missing", range(3))
def test_the_hasty_dialogs_sequence_is_the_shortest(missing: int) -> None:
    play(HastySendReceiveDialog(), [call for n, call in enumerate(SHORTEST) if n != missing])


def first_problem_at_the_end_of_a_step(calls: Sequence[Call]) -> int | None:
    """The number of the first Error for which the Progress before it has index = maximum, None without one."""
    last = None
    for number, call in enumerate(calls):
        if call.method == "Progress":
            last = call.args
        elif call.method == "Error" and last and last[1] == last[2]:
            return number
    return None


@given(any_calls)
def test_the_hasty_dialog_has_no_other_bug(calls: list[Call]) -> None:
    play(HastySendReceiveDialog(), calls[: first_problem_at_the_end_of_a_step(calls)])


def test_the_hasty_pace() -> None:
    pace = HastyPace()
    assert pace.calls_left() is None
    pace.report(2, 10)
    pace.problem()
    pace.report(4, 10)
    assert pace.calls_left() == 3
