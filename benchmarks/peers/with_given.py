"""Hypothesis, @given a list of calls:  python with_given.py HOST SEED LIMIT REPORT"""

from __future__ import annotations

import itertools
import sys
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from model import Search
from strategies import call_lists

_, HOST, SEED, LIMIT, REPORT = sys.argv
search = Search(HOST, float(LIMIT), REPORT)


@settings(
    max_examples=1_000_000,
    phases=[Phase.generate],
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(call_lists)
def play(calls: list[tuple[Any, ...]]) -> None:
    search.begin()
    for method, *arguments in calls:
        getattr(search, method)(*arguments)


for number in itertools.count(int(SEED), 1000):
    seed(number)(play)()
