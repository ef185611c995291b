"""The smallest subset that has everything."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.subset import smallest_subset


def cheapest_first(sets: dict[str, set[int]]) -> dict[str, tuple[int, ...]]:
    return {name: (number,) for number, name in enumerate(sets)}


def test_what_is_needless_goes() -> None:
    sets = {"a": {1, 2}, "b": {2, 3}, "c": {1, 2, 3}, "d": {3}}
    assert smallest_subset(sets, cheapest_first(sets)) == ["c"]


def test_of_equals_the_cheaper_one_stays() -> None:
    sets = {"dear": {1, 2}, "cheap": {1, 2}, "other": {3}}
    assert smallest_subset(sets, {"dear": (9,), "cheap": (2,), "other": (5,)}) == ["cheap", "other"]


def test_what_is_kept_counts_first() -> None:
    sets = {"a": {1, 2, 3}, "kept": {1, 2}, "b": {3}, "empty": set[int]()}
    assert smallest_subset(sets, {"a": (5,), "kept": (9,), "b": (1,), "empty": (0,)}, {"kept"}) == ["kept", "b"]
    assert smallest_subset(sets, cheapest_first(sets), {"empty"}) == ["a", "empty"]


def test_what_greed_took_first_goes_when_the_rest_makes_it_needless() -> None:
    """The largest is taken first here, and the two that are needed anyway have all of it."""
    sets = {"large": {1, 2, 3, 4}, "left": {1, 2, 5}, "right": {3, 4, 6}}
    assert smallest_subset(sets, cheapest_first(sets)) == ["left", "right"]


def test_nothing_of_nothing() -> None:
    assert smallest_subset({}, {}) == []
    assert smallest_subset({"a": set[int]()}, {"a": ()}) == []


@settings(max_examples=50)
@given(
    st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.sets(st.integers(0, 12)), max_size=12), st.data()
)
def test_the_subset_has_all_and_none_of_it_is_needless(sets: dict[str, set[int]], data: st.DataObject) -> None:
    kept = data.draw(st.sets(st.sampled_from(sorted(sets)))) if sets else set()
    chosen = smallest_subset(sets, {name: (len(name), name) for name in sets}, kept)
    everything = set[int]().union(*sets.values())
    assert kept <= set(chosen) <= set(sets) and chosen == [name for name in sets if name in chosen]
    assert set[int]().union(*(sets[name] for name in chosen)) == everything
    for needless in set(chosen) - kept:
        assert set[int]().union(*(sets[name] for name in chosen if name != needless)) != everything
