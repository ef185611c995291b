"""Play a finding's sequence again, on fresh instances in a child of its own, until the finding shows once more.

What depends on chance, on the clock or on what was played before may take several tries; what never shows again
nobody can mend, and a build should not fail for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from recorder.calls import Call, Trace
from recorder.contract import contract_of
from recorder.interface import Interface
from replayer.isolation import Isolated, Limits
from replayer.oracles import Finding, Judge
from replayer.player import PlayOptions

__all__ = ["TRIES", "Again", "Conditions"]

TRIES = 10


@dataclass(frozen=True)
class Conditions:
    """How a sequence is played and judged; the defaults are those of `synctape replay`."""

    slow: float = 1.0
    timeout: float = 5.0
    memory: int | None = None
    repeat: int = 1

    @classmethod
    def of(cls, options: Sequence[str]) -> Conditions:
        """From options of `synctape replay`, as a finding names them.  Raises ValueError for any other."""
        given: dict[str, Any] = {}
        for name, value in zip(options[::2], options[1::2], strict=True):
            if name not in _KINDS:
                raise ValueError(f"no option {name!r}")
            given[name.removeprefix("--")] = _KINDS[name](value)
        return cls(**given)


_KINDS: dict[str, Callable[[str], float]] = {"--slow": float, "--timeout": float, "--memory": int, "--repeat": int}


class Again:
    """Plays on one target; a child is started for each kind of conditions, when it is needed."""

    def __init__(self, spec: str, interface: Interface, *, disabled: Iterable[str] = ()):
        self._spec = spec
        self._interface = interface
        self._disabled = frozenset(disabled)
        self._players: dict[Conditions, Isolated] = {}

    def tries_until(
        self,
        sequence: Trace | Sequence[Call],
        conditions: Conditions,
        pick: Callable[[list[Finding]], Finding | None],
        *,
        most: int = TRIES,
    ) -> tuple[int, Finding | None]:
        """At which try `pick` took a finding, and which; (0, None) if it never did.

        Raises TargetError if the target gives no instance, ExecutorError if no child can be started.
        """
        contract = contract_of(self._interface)
        judge = Judge(contract, slow=conditions.slow, disabled=self._disabled, repeat=conditions.repeat)
        for number in range(1, most + 1):
            shown = pick(judge.findings(self._player(conditions).play(sequence)))
            if shown is not None:
                return number, shown
        return 0, None

    def _player(self, conditions: Conditions) -> Isolated:
        if conditions not in self._players:
            options = PlayOptions(collect=2, skip=tuple(self._disabled), repeat=conditions.repeat)
            limits = Limits(conditions.timeout, conditions.memory)
            self._players[conditions] = Isolated(self._spec, self._interface, options, limits)
        return self._players[conditions]

    def close(self) -> None:
        for player in self._players.values():
            player.close()
        self._players.clear()

    def __enter__(self) -> Again:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
