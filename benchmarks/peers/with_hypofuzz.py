"""HypoFuzz:  HOST=... LIMIT=... REPORT=... hypothesis fuzz --no-dashboard -n 1 -- with_hypofuzz.py

It draws its own seeds.
"""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, given, settings
from model import Search
from strategies import call_lists

search = Search(os.environ["HOST"], float(os.environ["LIMIT"]), os.environ["REPORT"])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(call_lists)
def test_host(calls: list[tuple[Any, ...]]) -> None:
    search.begin()
    for method, *arguments in calls:
        getattr(search, method)(*arguments)
