"""Several corpora as one, or one as a smaller one: without duplicates, or the smallest one that shows as much.

    plan = distinct(corpus)                       # one of each group of the same calls
    plan = smallest(plan, shower)                 # of these as many as have all features of them, the shorter ones
    keep(plan, folder)                            # as files, under their names

A plan says of each trace what becomes of it.  A trace that kills the target is a failure, kept apart; one that was
kept for a finding always stays.  Nothing is lost: what a plan leaves out lies where it lay.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import PurePosixPath

from fuzz.census import duplicates
from fuzz.features import Features, Seen, Shower
from fuzz.subset import smallest_subset
from recorder.calls import NOT_RUN, Trace
from recorder.contract import Level, contract_of, level_of
from recorder.errors import SynctapeError
from recorder.provenance import digest, merged, mutated, origin_of
from recorder.text import is_text
from recorder.trace import dump_trace
from replayer.corpus import SUFFIX, Corpus, Member
from replayer.locations import Folder, TraceFile, safe_name
from replayer.order import overlaps
from replayer.sandbox import Death
from replayer.verdict import mismatch

__all__ = [
    "Kept",
    "Plan",
    "Trimmed",
    "distinct",
    "is_regression",
    "keep",
    "keep_apart",
    "move_away",
    "smallest",
    "trim",
]

_CHECKS = 4  # times that a subset is played and filled up until it shows all that it is to show
_TRIES = 2000  # shorter forms of one trace that are tried


@dataclass(frozen=True, slots=True)
class Kept:
    """A trace that stays; `changed` if it is no longer what its file holds, `there` if it need not be written."""

    member: Member
    trace: Trace
    changed: bool = False
    there: bool = False


@dataclass(frozen=True, slots=True)
class Trimmed:
    """How many calls a trace had, and has."""

    name: str
    before: int
    after: int


@dataclass
class Plan:
    """What becomes of each trace.

    `duplicates` have the calls of one that stays, `needless` show nothing that those which stay do not, `failures`
    killed the target.  `features` counts what all show together; `unsteady` of them did not show again.
    """

    kept: list[Kept] = field(default_factory=list)
    duplicates: list[Member] = field(default_factory=list)
    needless: list[Member] = field(default_factory=list)
    failures: list[tuple[Member, Death]] = field(default_factory=list)
    trimmed: list[Trimmed] = field(default_factory=list)
    features: int = 0
    unsteady: int = 0

    @property
    def calls(self) -> int:
        """How many calls stay."""
        return sum(len(kept.trace.calls) for kept in self.kept)


def distinct(corpus: Corpus, there: Collection[TraceFile] = (), *, note: bool = True) -> Plan:
    """One of each group of traces with the same calls: one of the files that are `there` already, which stay as
    they are, else the first that is whole.

    `note`: the header of one that stands for others, and is not there, names them all.
    """
    plan = Plan()
    for group in duplicates(corpus.members):
        staying = [member for member in group if member.file in there]
        best = staying[0] if staying else min(group, key=lambda member: member.trace.damage is not None)
        others = [member for member in group if member is not best and member not in staying]
        plan.duplicates += others
        if staying:
            plan.kept += [Kept(member, member.trace, there=True) for member in staying]
        elif others and note:
            sources = [origin_of(_stem(member.name), member.trace) for member in (best, *others)]
            header = replace(best.trace.header, provenance=merged(sources, best.trace.header.provenance))
            plan.kept.append(Kept(best, replace(best.trace, header=header), changed=True))
        else:
            plan.kept.append(Kept(best, best.trace))
    return plan


def _stem(name: str) -> str:
    return PurePosixPath(name).stem


# --- by what they show ----------------------------------------------------------------------------------------


def smallest(plan: Plan, shower: Shower, *, watch: Callable[[int, int], None] = lambda done, of: None) -> Plan:
    """Of the traces that the plan keeps as few as show all that they show together; those that are there stay.

    What was chosen is played again in a fresh process: what does not show again there is looked for in those left
    out.  `watch` is told how many were played, and of how many.  Raises SynctapeError for a trace of an interface
    other than the target's.
    """
    for kept in plan.kept:
        if why := mismatch(kept.trace.interface, shower.interface):
            raise SynctapeError(f"{kept.member.file}: {why}")
    seen: dict[int, Seen] = {}
    failures: list[tuple[Member, Death]] = []
    for place, kept in enumerate(plan.kept):
        shown = shower.show(kept.trace)
        if isinstance(shown, Death):
            failures.append((kept.member, shown))
        else:
            seen[place] = shown
        watch(place + 1, len(plan.kept))
    features = Features()
    features.learn(seen.values())
    sets = {place: features.of(shown) for place, shown in seen.items()}
    everything = frozenset[str]().union(*sets.values())
    chosen, lost = _chosen(plan, shower, features, sets)
    return replace(
        plan,
        kept=[plan.kept[place] for place in chosen],
        needless=[plan.kept[place].member for place in sets if place not in chosen],
        failures=failures,
        features=len(everything),
        unsteady=lost,
    )


def _chosen(
    plan: Plan, shower: Shower, features: Features, sets: dict[int, frozenset[str]]
) -> tuple[list[int], int]:
    """Places of the traces that stay, and how many features none of them shows again."""
    cost = {place: (len(plan.kept[place].trace.calls), plan.kept[place].member.name) for place in sets}
    staying = {place for place in sets if plan.kept[place].there or is_regression(plan.kept[place].trace)}
    everything = frozenset[str]().union(*sets.values())
    chosen = smallest_subset(sets, cost, staying)
    lost: frozenset[str] = frozenset()
    for _ in range(_CHECKS):
        lost = everything - _shown_again(plan, shower, features, chosen)
        left = {place: sets[place] & lost for place in sets if place in chosen or sets[place] & lost}
        if not lost or set(left) <= set(chosen):
            break
        more = smallest_subset({p: s for p, s in left.items() if p not in chosen}, cost)
        chosen = [place for place in sets if place in {*chosen, *more}]
    return chosen, len(lost)


def is_regression(trace: Trace) -> bool:
    """Whether a trace was kept for a finding."""
    return isinstance(trace.header.provenance.get("finding"), dict)


def _shown_again(plan: Plan, shower: Shower, features: Features, places: Iterable[int]) -> frozenset[str]:
    shower.renew()
    shown = [shower.show(plan.kept[place].trace) for place in places]
    return frozenset[str]().union(*(features.of(one) for one in shown if isinstance(one, Seen)))


# --- shorter traces -------------------------------------------------------------------------------------------


def trim(plan: Plan, shower: Shower, *, tries: int = _TRIES) -> Plan:
    """Each trace that the plan keeps without the calls that it does not need to show all that it shows.

    None gets a higher level by that.  Those kept for a finding, and those that are there, stay as they are.
    """
    shown = [shower.show(kept.trace) for kept in plan.kept]
    features = Features()
    features.learn(one for one in shown if isinstance(one, Seen))
    kept: list[Kept] = []
    lengths: list[Trimmed] = []
    for one, seen in zip(plan.kept, shown, strict=True):
        if isinstance(seen, Death) or one.there or is_regression(one.trace):
            kept.append(one)
            continue
        shows_all = partial(_shows_all, shower, features, features.of(seen), _level(one.trace))
        shorter = _shorter(one.trace, shows_all, tries)
        if len(shorter.calls) < len(one.trace.calls):
            lengths.append(Trimmed(one.member.name, len(one.trace.calls), len(shorter.calls)))
            provenance = mutated([origin_of(_stem(one.member.name), one.trace)], ["trim"])
            shorter = replace(shorter, header=replace(shorter.header, provenance=provenance))
            one = Kept(one.member, shorter, changed=True)  # noqa: PLW2901
        kept.append(one)
    return replace(plan, kept=kept, trimmed=lengths)


def _shows_all(shower: Shower, features: Features, needed: frozenset[str], level: Level, trace: Trace) -> bool:
    if _level(trace) > level:
        return False
    seen = shower.show(trace)
    return isinstance(seen, Seen) and needed <= features.of(seen)


def _level(trace: Trace) -> Level:
    return level_of(contract_of(trace.interface), trace.calls)


def _shorter(trace: Trace, shows_all: Callable[[Trace], bool], tries: int) -> Trace:
    """The trace without runs of calls that are not needed, first long ones, at last single ones."""
    places = list(range(len(trace.calls)))
    size = len(places) // 2
    while size:
        at, fewer = 0, False
        while at < len(places) and tries > 0:
            without = [*places[:at], *places[at + size :]]
            tries -= 1
            if without and shows_all(_part(trace, without)):
                places, fewer = without, True
            else:
                at += size
        if not (fewer and size == 1):
            size //= 2
    return _part(trace, places) if len(places) < len(trace.calls) else trace


def _part(trace: Trace, places: Sequence[int]) -> Trace:
    """Some of a trace's calls, with their times and what came of them; those that overlap still do."""
    if overlaps(trace.events):
        numbers = {place: number for number, place in enumerate(places)}
        kept = [event._replace(number=numbers[event.number]) for event in trace.events if event.number in numbers]
        return replace(trace, events=tuple(kept), damage=None)
    played = [trace.played[place] for place in places]
    outcomes = [one.outcome or NOT_RUN for one in played]
    part = Trace.from_calls([one.call for one in played], trace.header, outcomes)
    threads = (*trace.threads, *part.threads)[: max(len(part.threads), len(trace.threads))]
    return replace(part, threads=threads)


# --- as files -------------------------------------------------------------------------------------------------


def keep(kept: Iterable[Kept], folder: Folder) -> list[str]:
    """Write traces into a folder under their names, or under others where these are taken; gives the names.

    Nothing that is there is replaced.  One that is unchanged and whole is copied byte for byte.
    """
    taken = set(folder.names())
    names = []
    for one in kept:
        if one.there:
            continue
        name = _free_name(one.member.name, one.trace, taken)
        folder.write(name, _bytes(one))
        taken.add(name)
        names.append(name)
    return names


def keep_apart(failures: Iterable[tuple[Member, Death]], folder: Folder) -> list[str]:
    """Write traces that killed the target into a folder of their own, unless they are there."""
    there = {name: folder.read(name) for name in folder.names()}
    names = []
    for member, _ in failures:
        data = _bytes(Kept(member, member.trace))
        same = [name for name, other in there.items() if other == data]
        if same:
            names.append(same[0])
            continue
        name = _free_name(member.name, member.trace, set(there))
        folder.write(name, data)
        there[name] = data
        names.append(name)
    return names


def move_away(plan: Plan, folder: Folder) -> list[str]:
    """Move out of a folder what a plan does not keep: failures beside it, the others to FOLDER-removed.

    A trimmed trace takes its old one's place, which is moved, too.  Each is there before it is gone here.  Gives
    the names of the failures.
    """
    names = keep_apart(plan.failures, folder.beside("-failures"))
    changed = [kept for kept in plan.kept if kept.changed]
    removed = [*plan.duplicates, *plan.needless, *(kept.member for kept in changed)]
    keep((Kept(member, member.trace) for member in removed), folder.beside("-removed"))
    for kept in changed:
        folder.write(kept.member.name, dump_trace(replace(kept.trace, damage=None)), overwrite=True)
    for member in (*plan.duplicates, *plan.needless, *(member for member, _ in plan.failures)):
        folder.remove(member.name)
    return names


def _free_name(name: str, trace: Trace, taken: set[str]) -> str:
    path = PurePosixPath(safe_name(name))
    base = path.with_suffix("") if path.suffix == SUFFIX else path
    code = digest(trace.calls, trace.interface)
    candidates = [base.name, *(f"{base.name}-{code[:length]}" for length in range(6, len(code) + 1))]
    number = 2
    while True:
        for candidate in candidates:
            free = base.with_name(candidate + SUFFIX).as_posix()
            if free not in taken:
                return free
        candidates = [f"{base.name}-{code}-{number}"]
        number += 1


def _bytes(one: Kept) -> bytes:
    if one.changed or one.trace.damage is not None:
        return dump_trace(replace(one.trace, damage=None))
    data = one.member.file.read_bytes()
    return dump_trace(one.trace) if is_text(data[:16]) else data
