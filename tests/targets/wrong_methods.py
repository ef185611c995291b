"""The bug: the host has no Done.

The shortest sequence that shows it:

    Done(NULL, S_OK)
"""

from __future__ import annotations


class Host:
    def Progress(self, text: str | None, index: int, maximum: int) -> int:
        return 0

    def Error(self, result: int, text: str | None) -> int:
        return 0
