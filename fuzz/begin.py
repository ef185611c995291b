"""Where a campaign begins: with a target and traces, in a folder of its own or none, or where it had ended."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from fuzz.campaign import Campaign
from fuzz.progress import CampaignOptions
from fuzz.store import CampaignFolder, StoreError
from recorder.calls import Trace
from recorder.interface import Interface
from recorder.provenance import digest
from replayer.verdict import mismatch

__all__ = ["Beginning", "gone_on_with", "options_given"]

Seeds = Sequence[tuple[str, Trace]]

_FIELDS = {"exitfirst": "exit_first", "disable": "disabled"}  # of options that are called otherwise
_BUDGET = {"max_time", "max_runs"}


@dataclass(frozen=True)
class Beginning:
    """What a campaign is made from.  `folder` is that of its findings, `store` its own, if it has one."""

    spec: str
    seeds: Seeds
    options: CampaignOptions
    interface: Interface
    folder: Path
    store: CampaignFolder | None = None

    @property
    def line(self) -> str:
        """What is begun, for a reader."""
        if self.store and (self.store.progress.runs or self.store.fresh):
            had = self.store.progress
            return (
                f"going on with {self.store.path}: {self.spec}, after {had.seconds:.0f} s and {had.runs} "
                f"sequences, {had.kept} kept, {had.failures} failures, seed {self.options.seed}"
            )
        return f"fuzzing {self.spec} from {len(self.seeds)} traces, seed {self.options.seed}"

    def stored(self, path: Path) -> Beginning:
        """The same in a new folder of its own.  Raises StoreError."""
        store = CampaignFolder.create(path, self.spec, self.seeds, self.options, self.interface)
        return replace(self, folder=store.findings, store=store)

    def __enter__(self) -> Beginning:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.store:
            self.store.close()

    def campaign(self, **watchers: Any) -> Campaign:
        """`watchers`: see Campaign."""
        if self.store:
            return Campaign.stored(self.store, **watchers)
        return Campaign(
            self.spec, self.seeds, self.options, interface=self.interface, folder=self.folder, **watchers
        )


def options_given(before: CampaignOptions, anew: CampaignOptions, given: Collection[str]) -> CampaignOptions:
    """The options of before, but for those that the command line was given anew; of the budget all if any.

    Who asks for jobs wants them here, not on a cluster.
    """
    names = {_FIELDS.get(name, name) for name in given}
    if names & _BUDGET:
        names |= _BUDGET
    if "jobs" in names:
        names |= {"cluster"}
    changed = {field.name: getattr(anew, field.name) for field in fields(anew) if field.name in names}
    return replace(before, **changed)


def gone_on_with(
    store: CampaignFolder,
    anew: CampaignOptions,
    given: Collection[str],
    *,
    spec: str | None = None,
    interface: Interface | None = None,
    seeds: Callable[[Interface], Seeds] = lambda interface: (),
) -> Beginning:
    """A campaign that is gone on with, on the same target and interface.  `seeds` are added to those it has.

    Raises StoreError for another target or interface; the store is closed then.
    """
    try:
        return _gone_on_with(store, anew, given, spec, interface, seeds)
    except BaseException:
        store.close()
        raise


def _gone_on_with(
    store: CampaignFolder,
    anew: CampaignOptions,
    given: Collection[str],
    spec: str | None,
    interface: Interface | None,
    seeds: Callable[[Interface], Seeds],
) -> Beginning:
    if spec is not None and spec != store.spec:
        raise StoreError(f"{store.path}: is a campaign on {store.spec}, not on {spec}")
    if interface is not None and (why := mismatch(store.interface, interface)):
        raise StoreError(f"{store.path}: is a campaign on another interface: it {why}")
    store.options = options_given(store.options, anew, given)
    known = {digest(trace.calls, trace.interface) for _, trace in store.seeds}
    added = [
        (name, trace)
        for name, trace in seeds(store.interface)
        if digest(trace.calls, trace.interface) not in known
    ]
    store.add_seeds(added)
    return Beginning(store.spec, store.seeds, store.options, store.interface, store.findings, store)
