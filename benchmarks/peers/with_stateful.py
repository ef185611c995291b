"""Hypothesis, RuleBasedStateMachine:  python with_stateful.py HOST SEED LIMIT REPORT"""

from __future__ import annotations

import itertools
import sys

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from model import CALLS, Search
from strategies import codes, handles, numbers, sizes, texts

_, HOST, SEED, LIMIT, REPORT = sys.argv
search = Search(HOST, float(LIMIT), REPORT)


class Callback(RuleBasedStateMachine):
    """The calls that a provider makes."""

    @initialize()
    def begin(self) -> None:
        search.begin()

    @rule(text=texts, index=numbers, maximum=numbers)
    def progress(self, text: str | None, index: int, maximum: int) -> None:
        search.progress(text, index, maximum)

    @precondition(lambda self: not CALLS)
    @rule(text=texts, maximum=sizes)
    def step(self, text: str | None, maximum: int) -> None:
        search.step(text, maximum)

    @rule(code=codes, text=texts)
    def error(self, code: int, text: str | None) -> None:
        search.error(code, text)

    @rule(handle=handles, code=codes)
    def done(self, handle: int | None, code: int) -> None:
        search.done(handle, code)


for number in itertools.count(int(SEED), 1000):  # a run may end because Hypothesis thinks that it has seen all
    machine = settings(
        max_examples=1_000_000,
        stateful_step_count=CALLS + 1 if CALLS else 50,  # its own beginning is one
        phases=[Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(seed(number)(Callback), settings=machine)
