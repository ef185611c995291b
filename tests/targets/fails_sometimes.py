"""The bug: every seventh host of a process raises on Error, whatever the calls: it does not fail each time.

The shortest sequence that shows it, now and then:

    Error(S_OK, "")
"""

from __future__ import annotations

import itertools
from typing import Any

hosts = itertools.count(1)


class Host:
    def __init__(self) -> None:
        self.unlucky = next(hosts) % 7 == 0

    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        return 0

    def Error(self, result: int, text: str | None) -> int:
        if self.unlucky:
            raise RuntimeError("the seventh")
        return 0

    def Done(self, handle: Any, result: int) -> int:
        return 0
