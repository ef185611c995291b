"""What of a Python target's code a corpus reaches: each trace is played in a sandboxed child, its coverage kept.

A trace that ends the child has what it reached before its last call counted: the calls before that are played
again.  Nothing is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fuzz.coverage import Coverage, coverage_for
from recorder.calls import Trace
from recorder.errors import SynctapeError
from recorder.interface import Interface
from recorder.trace import dump_trace, load_trace
from replayer.isolation import Limits
from replayer.player import Phase, PlayOptions, play
from replayer.sandbox import Death, Sandbox
from replayer.sandbox_child import Journal
from replayer.target import TargetError, is_native_spec, load_target

__all__ = ["Covered", "SiteSeen", "cover", "job", "preload"]

_coverage: dict[str, Coverage] = {}


class SiteSeen(NamedTuple):
    """An arm of a branch, or another place with a mark: its line, which way from there, whether it was reached."""

    line: int
    way: str
    reached: bool


@dataclass
class Covered:
    """`files` are sites by the path of their file.  `traces` were played; `cut` of them ended the process."""

    files: dict[str, list[SiteSeen]] = field(default_factory=dict)
    traces: int = 0
    cut: int = 0

    @property
    def sites(self) -> int:
        return sum(map(len, self.files.values()))

    @property
    def reached(self) -> int:
        return sum(site.reached for sites in self.files.values() for site in sites)

    def add(self, table: dict[str, list[list[Any]]]) -> None:
        """Take in what a child saw.  A file that no other child had imported may be new."""
        for path, sites in table.items():
            seen = [SiteSeen(*site) for site in sites]
            known = self.files.get(path)
            if known is not None and len(known) == len(seen):
                seen = [
                    one._replace(reached=one.reached or old.reached) for one, old in zip(seen, known, strict=True)
                ]
            self.files[path] = seen


def preload(config: dict[str, Any]) -> None:
    """Have the target's modules marked when they are imported, once for all workers."""
    spec = config["spec"]
    _coverage[spec] = coverage_for(spec.rpartition(":")[0])
    _coverage[spec].start()
    load_target(spec, Interface.from_description(config["interface"]))


def job(config: dict[str, Any], journal: Journal) -> Callable[[Any], Any]:
    """The handler of one worker: plays a packed trace; replies with the coverage if anything is new."""
    coverage = _coverage[config["spec"]]
    interface = Interface.from_description(config["interface"])
    target = load_target(config["spec"], interface)
    if not coverage.available:
        raise SynctapeError(f"coverage is not measured: {coverage.reason}")
    fresh = True

    def handle(packed: bytes) -> Any:
        nonlocal fresh
        try:
            play(load_trace(packed), target, PlayOptions(), journal)
        except TargetError as error:
            return {"refused": str(error)}
        new, fresh = coverage.novel() or fresh, False
        return {"table": coverage.table()} if new else None

    return handle


def cover(
    spec: str,
    interface: Interface,
    traces: Iterable[Trace],
    limits: Limits,
    *,
    tick: Callable[[Covered], None] = lambda covered: None,
) -> Covered:
    """Play the traces on the target; `tick` is called after each.

    Raises SynctapeError for a target whose coverage is not measured, TargetError for one without an instance,
    ExecutorError if no child can be started.
    """
    if is_native_spec(spec):
        raise SynctapeError(f"target {spec}: coverage is measured of Python targets; build a native one for gcov")
    covered = Covered()
    config = {"spec": spec, "interface": interface.describe()}
    with Sandbox(
        "fuzz.covering:job", config, name=f"target {spec}", timeout=limits.timeout, memory=limits.memory
    ) as sandbox:
        for trace in traces:
            if trace.calls:
                covered.traces += 1
                covered.cut += not _played(sandbox, trace, covered)
                tick(covered)
    return covered


def _played(sandbox: Sandbox, trace: Trace, covered: Covered) -> bool:
    """Play one trace; False if it ended the process, when what came before that call was played again."""
    reply = sandbox.request(dump_trace(trace))
    if not isinstance(reply, Death):
        _take(reply, covered)
        return True
    phase, number = reply.position
    if phase == Phase.MAKING:
        raise TargetError(f"the target's factory ended the process: {reply.detail}")
    before = Trace.from_calls(trace.calls[:number], trace.header)
    if before.calls and not isinstance(again := sandbox.request(dump_trace(before)), Death):
        _take(again, covered)
    return False


def _take(reply: Any, covered: Covered) -> None:
    if reply is None:
        return
    if "refused" in reply:
        raise TargetError(reply["refused"])
    covered.add(reply["table"])
