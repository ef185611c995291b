"""Hypothesis strategies for the arguments of the callback's methods, for the peers built on Hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st
from model import CALLS, CODES, MOST_STEPS, NUMBERS, TEXTS

__all__ = ["call_lists", "codes", "handles", "numbers", "sizes", "texts"]

texts = st.none() | st.sampled_from(TEXTS) | st.text(st.characters(), max_size=300)
numbers = st.integers(0, 10) | st.sampled_from(NUMBERS) | st.integers(0, 2**32 - 1)
codes = st.sampled_from(CODES) | st.integers(-(2**31), 2**31 - 1)
handles = st.sampled_from((None, 1, 2))
sizes = st.integers(1, 20) | st.integers(1, MOST_STEPS)

_single = (
    st.tuples(st.just("progress"), texts, numbers, numbers),
    st.tuples(st.just("error"), codes, texts),
    st.tuples(st.just("done"), handles, codes),
)
_step = st.tuples(st.just("step"), texts, sizes)
call_lists = (
    st.lists(st.one_of(*_single), min_size=CALLS, max_size=CALLS)
    if CALLS
    else st.lists(st.one_of(*_single, _step), min_size=1, max_size=40)
)
