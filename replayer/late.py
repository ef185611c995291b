"""Effects of late calls: after the call that ends the protocol, what a target shows stays as it is (H15)."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

__all__ = ["LateEffects"]

_LONGEST = 40  # characters of a value in a message
_NOTHING = object()


class LateEffects:
    """Follows the calls on one instance and compares what its own `state()` gives before and after each late one.

    `terminal` are the methods that end the protocol.  A target without a `state()` shows nothing, and one whose
    `state()` fails is not judged; nor is what changes later than the first call that changed something.
    """

    def __init__(self, terminal: Collection[str]):
        self._terminal = terminal
        self._over = False
        self._judged = False
        self._shown: object = None

    def of(self, target: Any, method: str) -> str:
        """What a call of this method, just made, has changed after the end; "" if it changed nothing."""
        if self._judged or not (self._over or method in self._terminal):
            return ""
        before, self._shown = self._shown, _state(target)
        late, self._over = self._over, True
        if self._shown is _NOTHING or (late and _same(before, self._shown)):
            self._judged = self._shown is _NOTHING
            return ""
        self._judged = late
        return f"a late {method} changed what state() shows: {_difference(before, self._shown)}" if late else ""


def _state(target: Any) -> object:
    own = getattr(target, "state", None)
    if not callable(own):
        return _NOTHING
    try:
        return copy.deepcopy(own())
    except Exception:
        return _NOTHING


def _same(before: object, after: object) -> bool:
    try:
        return bool(before == after)
    except Exception:  # values that cannot be compared say nothing
        return True


def _difference(before: object, after: object) -> str:
    """The first value that differs, by its name where there is one."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in [*before, *(name for name in after if name not in before)]:
            if name not in before or name not in after or not _same(before[name], after[name]):
                old, new = (_brief(state[name]) if name in state else "nothing" for state in (before, after))
                return f"{name!s:.40} was {old}, is {new}"
    return f"it was {_brief(before)}, is {_brief(after)}"


def _brief(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
