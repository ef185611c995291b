"""The recorded order of enters and leaves, as data."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder.calls import NOT_RUN, Call, Enter, Event, Leave, Outcome, Trace
from replayer.order import Border, Order, OrderError, Planned, overlaps, with_outcomes


def events(text: str, threads: str = "") -> tuple[Event, ...]:
    """Events from words: "0( 1( 1) 0)"; `threads`: the thread of each call, else all are of one thread."""
    made: list[Event] = []
    for word in text.split():
        number = int(word[:-1])
        thread = int(threads[number]) if threads else 0
        made.append(
            Enter(number, Call("Progress", (None, number, 9), thread))
            if word.endswith("(")
            else Leave(number, Outcome())
        )
    return tuple(made)


@st.composite
def recordings(draw: st.DrawFn) -> tuple[Event, ...]:
    """Events as threads make them: each may begin a call at any time, and ends the one that it began last."""
    made: list[Event] = []
    stacks: dict[int, list[int]] = {0: [], 1: [], 2: []}
    number = 0
    for thread, begins in draw(st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=24)):
        if begins:
            made.append(Enter(number, Call("Progress", (None, number, 99), thread)))
            stacks[thread].append(number)
            number += 1
        elif stacks[thread]:
            made.append(Leave(stacks[thread].pop(), Outcome()))
    return tuple(made)


def walked(program: tuple[Planned, ...]) -> list[Border]:
    """The borders that a thread passes, one after the other."""
    borders = []
    for call in program:
        borders += [Border(call.number), *walked(call.inside), Border(call.number, leaves=True)]
    return borders


@settings(max_examples=25)
@given(recordings())
def test_every_call_begins_and_ends_once_and_each_thread_passes_its_borders_in_order(
    recorded: tuple[Event, ...],
) -> None:
    order = Order.of(recorded)
    threads = {event.number: event.call.thread for event in recorded if isinstance(event, Enter)}
    assert sorted(order.borders) == sorted(Border(n, leaves) for n in threads for leaves in (False, True))
    assert {thread for thread in order.programs if order.programs[thread]} == set(threads.values())
    for thread, program in order.programs.items():
        assert walked(program) == [b for b in order.borders if threads[b.number] == thread]


@settings(max_examples=25)
@given(recordings())
def test_what_was_recorded_stands_first_in_its_order(recorded: tuple[Event, ...]) -> None:
    order = Order.of(recorded)
    assert order.borders[: len(recorded)] == tuple(Border(e.number, isinstance(e, Leave)) for e in recorded)
    for number in order.enters:
        assert order.borders[order.enters[number]] == Border(number)
        assert order.borders[order.leaves[number]] == Border(number, leaves=True)
        assert order.enters[number] < order.leaves[number]


@settings(max_examples=25)
@given(recordings(), st.data())
def test_a_call_is_under_way_between_its_borders(recorded: tuple[Event, ...], data: st.DataObject) -> None:
    order = Order.of(recorded)
    count = data.draw(st.integers(0, len(order.borders)))
    begun = [n for n in sorted(order.enters) if order.enters[n] < count]
    assert order.ended(count) == {n for n in begun if order.leaves[n] < count}
    assert order.under_way(count) == [n for n in begun if order.leaves[n] >= count]


@settings(max_examples=25)
@given(recordings())
def test_calls_overlap_where_one_begins_before_another_has_ended(recorded: tuple[Event, ...]) -> None:
    running, seen = 0, False
    for event in recorded:
        seen = seen or (isinstance(event, Enter) and running > 0)
        running += 1 if isinstance(event, Enter) else -1
    assert overlaps(recorded) == seen


@settings(max_examples=25)
@given(recordings())
def test_a_trace_keeps_its_order_with_other_outcomes(recorded: tuple[Event, ...]) -> None:
    trace = Trace(events=recorded)
    outcomes = [Outcome(value=number) for number in range(len(trace.calls))]
    played = with_outcomes(trace, outcomes)
    assert [(number, call, outcome) for number, call, outcome in played.played] == [
        (number, call, outcomes[number]) for number, call in enumerate(trace.calls)
    ]
    if overlaps(recorded):
        assert [e if isinstance(e, Enter) else e.number for e in played.events[: len(recorded)]] == [
            e if isinstance(e, Enter) else e.number for e in recorded
        ]
    else:
        assert played.events == Trace.from_calls(trace.calls, trace.header, outcomes).events


def test_nested_calls_are_those_of_one_thread() -> None:
    order = Order.of(events("0( 1( 2( 2) 1) 3( 3) 0) 4( 4)", "00100"))
    assert order.programs == {
        0: (Planned(0, (Planned(1), Planned(3))), Planned(4)),
        1: (Planned(2),),
    }


@settings(max_examples=25)
@given(recordings())
def test_a_call_starts_before_anything_must_have_come_of_it(recorded: tuple[Event, ...]) -> None:
    order = Order.of(recorded)
    starts = order.starts()
    assert set(starts) == set(order.enters.values())
    for at, until in starts.items():
        assert at < until and not any(border.leaves for border in order.borders[at:until])
        threads = [order.threads[border.number] for border in order.borders[at:until]]
        assert len(set(threads)) == len(threads)


def test_calls_start_together_that_begin_one_after_the_other() -> None:
    assert Order.of(events("0( 1( 1) 2( 0) 2)", "012")).starts() == {0: 2, 1: 2, 3: 4}
    assert Order.of(events("0( 1( 2( 2) 1) 0)", "001")).starts() == {0: 1, 1: 3, 2: 3}


def test_calls_that_had_not_ended_end_last_the_last_begun_first() -> None:
    order = Order.of(events("0( 1( 2( 1)", "010"))
    assert order.borders[4:] == (Border(2, leaves=True), Border(0, leaves=True))


def test_calls_cannot_cross_each_other_on_one_thread() -> None:
    with pytest.raises(OrderError, match="call 0 ended before call 1, which began inside it on the same thread"):
        Order.of(events("0( 1( 0) 1)"))
    Order.of(events("0( 1( 0) 1)", "01"))  # as they do on two


def test_a_call_without_an_outcome_has_no_end_where_calls_overlap() -> None:
    trace = Trace(events=events("0( 1( 1) 0)", "01"))
    assert with_outcomes(trace, [None, NOT_RUN]).events == (*trace.events[:2], Leave(1, NOT_RUN))
