"""The state diagram: every transition of any contract, in its place, with how often it was taken."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from sequences import CALLBACK
from targets.imapi_progress import IMAPI_PROGRESS

from fuzz.markup import Element
from fuzz.state_diagram import state_diagram, ways_of
from recorder.contract import Contract, contract_of, free_contract

OURS = contract_of(CALLBACK)
TAKEN = {("bound", "Progress"): 1234, ("running", "Done"): 5, ("finished", "Done"): 1}


def drawn(contract: Contract, counts: dict[tuple[str, str], int]) -> Element:
    return state_diagram(contract, ways_of(contract, counts))


def texts(svg: Element, class_: str) -> list[str]:
    return [
        "".join(text.itertext()).removeprefix(
            title.text or "" if (title := text.find("title")) is not None else ""
        )
        for text in svg.iter("text")
        if class_ in (text.get("class") or "").split()
    ]


def boxes(svg: Element) -> list[tuple[float, float]]:
    """Left and right edges of the states."""
    rects = [group.find("rect") for group in svg.iter("g") if "state" in (group.get("class") or "").split()]
    return [
        (float(r.get("x", 0)), float(r.get("x", 0)) + float(r.get("width", 0))) for r in rects if r is not None
    ]


def test_transitions_are_told_apart_by_whether_they_were_taken_and_break_a_rule() -> None:
    svg = drawn(OURS, TAKEN)
    assert texts(svg, "seen") == ["Progress 1,234", "Done 5", "Done (P14) 1"]
    assert "Error never" in texts(svg, "never") and "Done never" in texts(svg, "never")
    assert "Progress (P13) never" in texts(svg, "unprovoked")
    assert texts(svg, "uncounted") == ["last Release", "Progress (P3)", "Error (P3)", "Done (P3)"]


def test_what_comes_after_the_end_is_counted_once_it_was_tried() -> None:
    svg = drawn(OURS, {**TAKEN, ("released", "Error"): 4})
    assert "Error (P3) 4" in texts(svg, "seen") and "Done (P3) never" in texts(svg, "unprovoked")


def test_every_transition_and_state_is_there_once() -> None:
    svg = drawn(OURS, TAKEN)
    assert len(texts(svg, "label")) == len(OURS.transitions) + 1
    states = [text.text for group in svg.iter("g") for text in group.findall("text")]
    assert states == ["bound", "running", "finished", "released"]


def test_where_nothing_was_counted_nothing_is_called_never_taken() -> None:
    assert {way.kind for way in ways_of(OURS, {})} == {"uncounted"}
    assert not [text for text in texts(drawn(OURS, {}), "label") if "never" in text]


def test_an_interface_without_a_contract_has_one_state_with_every_call() -> None:
    svg = drawn(free_contract(IMAPI_PROGRESS), {("any", "GetMax"): 3})
    assert len(boxes(svg)) == 1 and texts(svg, "seen") == ["GetMax 3"]
    assert len(texts(svg, "label")) == len(IMAPI_PROGRESS.calls)


def test_a_transition_is_told_in_words() -> None:
    told = {way.told for way in ways_of(OURS, TAKEN)}
    assert "in state finished, Done leads to finished, which breaks P14, taken 1 times" in told
    assert "in state bound, Error leads to running, never taken" in told


NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FFF), min_size=1, max_size=24)


@st.composite
def contracts(draw: st.DrawFn) -> Contract:
    states = draw(st.lists(NAMES, min_size=1, max_size=7, unique=True))
    pairs = st.tuples(st.sampled_from(states), NAMES)
    table = draw(
        st.dictionaries(pairs, st.tuples(st.sampled_from(states), st.none() | st.just("P13")), max_size=25)
    )
    ended = draw(st.frozensets(st.sampled_from(states)))
    return Contract(CALLBACK, states[0], ended, draw(st.none() | st.sampled_from(states)), table)


@settings(max_examples=60, deadline=None)
@given(contracts(), st.integers(0, 10**9))
def test_any_contract_can_be_drawn_and_its_states_do_not_overlap(contract: Contract, count: int) -> None:
    svg = drawn(contract, {pair: count * (n % 2) for n, pair in enumerate(contract.transitions)})
    _, _, width, height = map(float, (svg.get("viewBox") or "").split())
    edges = boxes(svg)
    assert len(edges) == len(
        {contract.start, *(s for (a, _), (b, _) in contract.transitions.items() for s in (a, b))}
        | contract.ended
        | ({contract.released} if contract.released else set())
    )
    assert all(right < left for (_, right), (left, _) in itertools.pairwise(edges))
    assert edges[0][0] >= 0 and edges[-1][1] <= width
    for text in svg.iter("text"):
        assert 0 <= float(text.get("x", -1)) <= width and 0 < float(text.get("y", -1)) <= height
