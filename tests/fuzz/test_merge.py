"""Corpora are merged and made smaller, and nothing of what they show, or of themselves, is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sequences import CALLBACK, GOOD, calls, recorded, regression, save, trace

from fuzz.features import Features, Seen, Shower, job
from fuzz.merge import Plan, distinct, keep, keep_apart, move_away, smallest, trim
from recorder.calls import Call, Header, Outcome, Thread, Trace
from recorder.contract import contract_of, level_of
from recorder.errors import SynctapeError
from recorder.interface import Interface, Method
from recorder.interfaces import IUNKNOWN
from recorder.provenance import captured, digest, origin_of, problems
from recorder.trace import dump_trace, read_trace
from replayer.corpus import Corpus, Member, read_corpus
from replayer.locations import open_folder
from replayer.sandbox import Death

ORIGIN = captured(provider="a:b")


@pytest.fixture(scope="module")
def shower() -> Iterator[Shower]:
    with Shower("targets.two_bugs:Host", CALLBACK) as shower:
        yield shower


def names(plan: Plan) -> list[str]:
    return [kept.member.name for kept in plan.kept]


# --- without a target -----------------------------------------------------------------------------------------


def test_of_the_same_calls_one_stays_and_names_the_others(tmp_path: Path) -> None:
    save(tmp_path / "a", "one", trace(*GOOD, **ORIGIN))
    save(tmp_path / "b", "two", trace(*GOOD, kind="generated"))
    save(tmp_path / "b", "other", trace(*GOOD[1:], **ORIGIN))
    plan = distinct(read_corpus([tmp_path / "a", tmp_path / "b"]))
    assert names(plan) == ["one.tape", "other.tape"] and [m.name for m in plan.duplicates] == ["two.tape"]
    provenance = plan.kept[0].trace.header.provenance
    code = digest(calls(*GOOD), CALLBACK)
    assert provenance["sources"] == [{"name": "one", "digest": code}, {"name": "two", "digest": code}]
    assert provenance["was"] == "captured" and provenance["provider"] == "a:b" and not problems(provenance)
    assert plan.kept[1].trace.header.provenance == ORIGIN


def test_a_whole_trace_stays_before_a_damaged_one(tmp_path: Path) -> None:
    (tmp_path / "a.tape").write_bytes(dump_trace(trace(*GOOD, **ORIGIN))[:-9])
    save(tmp_path, "b", trace(*GOOD, **ORIGIN))
    assert names(distinct(read_corpus([tmp_path]))) == ["b.tape"]


def test_what_was_kept_for_a_finding_is_not_swallowed_by_its_like(tmp_path: Path) -> None:
    save(tmp_path, "plain", trace(*GOOD, **ORIGIN))
    save(tmp_path, "x3", regression("X3", *GOOD))
    assert names(distinct(read_corpus([tmp_path]))) == ["plain.tape", "x3.tape"]


def test_files_are_copied_byte_for_byte_and_none_is_replaced(tmp_path: Path) -> None:
    one = save(tmp_path / "a", "deep/one", trace(*GOOD, **ORIGIN)).read_bytes()
    two = save(tmp_path / "b", "deep/one", trace(*GOOD[1:], **ORIGIN)).read_bytes()
    out = open_folder(str(tmp_path / "out"))
    out.write("deep/one.tape", b"mine")
    plan = distinct(read_corpus([tmp_path / "a", tmp_path / "b"]))
    written = keep(plan.kept, out)
    assert out.read("deep/one.tape") == b"mine"
    assert [out.read(name) for name in written] == [one, two]
    assert len(set(written)) == 2 and all(name.startswith("deep/one-") for name in written)


def test_what_is_there_already_stays_as_it_is_and_counts(tmp_path: Path) -> None:
    there = save(tmp_path / "out", "mine", trace(*GOOD, **ORIGIN))
    save(tmp_path / "a", "theirs", trace(*GOOD, kind="generated"))
    save(tmp_path / "a", "new", trace(*GOOD[1:], **ORIGIN))
    corpus = read_corpus([tmp_path / "out", tmp_path / "a"])
    plan = distinct(corpus, {there})
    assert [m.name for m in plan.duplicates] == ["theirs.tape"]
    assert keep(plan.kept, open_folder(str(tmp_path / "out"))) == ["new.tape"]
    assert read_trace(there).header.provenance == ORIGIN


def test_of_a_damaged_trace_what_was_read_is_written_whole(tmp_path: Path) -> None:
    (tmp_path / "torn.tape").write_bytes(dump_trace(trace(*GOOD, **ORIGIN))[:-40])
    out = open_folder(str(tmp_path / "out"))
    keep(distinct(read_corpus([tmp_path / "torn.tape"])).kept, out)
    kept = read_trace(tmp_path / "out" / "torn.tape")
    assert kept.damage is None and 0 < len(kept.calls) <= len(GOOD)


def test_a_name_from_elsewhere_does_not_leave_the_folder(tmp_path: Path) -> None:
    file = save(tmp_path, "a", trace(*GOOD, **ORIGIN))
    corpus = Corpus([Member("../../out.tape", file, read_trace(file))])
    assert keep(distinct(corpus).kept, open_folder(str(tmp_path / "in" / "deep"))) == ["_/_/out.tape"]


# --- on a target ----------------------------------------------------------------------------------------------


def corpus_of(*traces: Trace) -> Corpus:
    return Corpus([Member(f"{number}.tape", Path(f"{number}.tape"), one) for number, one in enumerate(traces)])


def shown(shower: Shower, features: Features, traces: list[Trace]) -> frozenset[str]:
    seen = [shower.show(one) for one in traces]
    return frozenset[str]().union(*(features.of(one) for one in seen if isinstance(one, Seen)))


def test_the_shorter_of_two_that_show_as_much_stays(shower: Shower) -> None:
    again = (GOOD[0], *GOOD[1:3] * 9, GOOD[3])
    plan = smallest(distinct(corpus_of(trace(*again), trace(*GOOD), trace("Progress(NULL, 3, 1)"))), shower)
    assert names(plan) == ["1.tape", "2.tape"] and [m.name for m in plan.needless] == ["0.tape"]
    assert plan.unsteady == 0 and plan.features > 5


def test_what_was_kept_for_a_finding_stays_though_it_shows_nothing_new(shower: Shower) -> None:
    plan = smallest(distinct(corpus_of(trace(*GOOD, GOOD[0]), regression("X3", *GOOD))), shower)
    assert names(plan) == ["0.tape", "1.tape"]


def test_a_trace_of_another_interface_is_refused(shower: Shower) -> None:
    other = Interface("IOther", "{0002031f-0000-0000-c000-0000000000aa}", (Method("Go", ()),), base=IUNKNOWN)
    with pytest.raises(SynctapeError, match=r"^0\.tape: was recorded from IOther"):
        smallest(distinct(corpus_of(Trace.from_calls([Call("Go")], Header(interface=other)))), shower)


LINES = (
    'Progress("x", 0, 1)',
    "Progress(NULL, 1, 1)",
    'Error(E_FAIL, "")',
    'Error(E_ABORT, "")',
    "Done(NULL, S_OK)",
    "Progress(NULL, 9, 1)",
)
CORPORA = st.lists(st.lists(st.sampled_from(LINES), min_size=1, max_size=8), min_size=1, max_size=12)


class InProcess(Shower):
    """What the child does, done here: a hundred times as fast."""

    def __init__(self) -> None:
        self.spec, self.interface = "targets.two_bugs:Host", CALLBACK
        self._show = job({"spec": self.spec, "interface": CALLBACK.describe()}, _Journal())

    def show(self, trace: Trace) -> Seen | Death:
        reply = self._show(dump_trace(trace))
        calls = tuple((where, method, outcome) for where, method, outcome in reply["calls"])
        return Seen(tuple(reply["sites"]), tuple(map(dict, reply["states"])), calls)

    def renew(self) -> None:
        """There is nothing that outlives a trace."""

    def close(self) -> None:
        """Nothing to end."""


class _Journal:
    def note(self, a: int, b: int) -> None:
        """Nobody reads it."""


@settings(max_examples=20, deadline=None)
@given(CORPORA)
def test_the_smallest_subset_has_exactly_the_features_of_the_whole(sequences: list[list[str]]) -> None:
    the_subset_has_the_features_of_the_whole(InProcess(), sequences)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CORPORA)
def test_so_it_has_in_child_processes_code_and_all(shower: Shower, sequences: list[list[str]]) -> None:
    the_subset_has_the_features_of_the_whole(shower, sequences)


def the_subset_has_the_features_of_the_whole(shower: Shower, sequences: list[list[str]]) -> None:
    corpus = corpus_of(*(trace(*lines) for lines in sequences))
    plan = smallest(distinct(corpus), shower)
    whole = [member.trace for member in corpus.members]
    features = Features()
    features.learn(one for one in map(shower.show, whole) if isinstance(one, Seen))
    everything = shown(shower, features, whole)
    assert shown(shower, features, [kept.trace for kept in plan.kept]) == everything
    assert plan.features == len(everything) and plan.unsteady == 0 and not plan.failures
    for needless in plan.kept:
        rest = [kept.trace for kept in plan.kept if kept is not needless]
        assert shown(shower, features, rest) != everything
    assert len(plan.kept) + len(plan.needless) + len(plan.duplicates) == len(corpus.members)


@settings(max_examples=8, deadline=None)
@given(CORPORA)
def test_trimmed_traces_show_all_that_they_showed_at_no_higher_level(sequences: list[list[str]]) -> None:
    shower = InProcess()
    plan = smallest(distinct(corpus_of(*(trace(*lines) for lines in sequences))), shower)
    trimmed = trim(plan, shower)
    features = Features()
    features.learn(one for one in (shower.show(kept.trace) for kept in plan.kept) if isinstance(one, Seen))
    contract = contract_of(CALLBACK)
    for before, after in zip(plan.kept, trimmed.kept, strict=True):
        assert shown(shower, features, [before.trace]) <= shown(shower, features, [after.trace])
        assert len(after.trace.calls) <= len(before.trace.calls)
        assert level_of(contract, after.trace.calls) <= level_of(contract, before.trace.calls)


def test_a_trimmed_trace_keeps_times_threads_and_answers_and_names_what_it_was(shower: Shower) -> None:
    lines = calls(*GOOD[:2], *GOOD[1:3] * 9)
    sequence = [call._replace(time_ns=number * 1024) for number, call in enumerate(lines)]
    outcomes = [Outcome(value=0, elapsed_ns=1024)] * len(sequence)
    whole = Trace.from_calls(sequence, Header(provenance=ORIGIN), outcomes)
    whole = Trace(whole.header, whole.events, (Thread(7, "sync"),))
    plan = trim(smallest(distinct(corpus_of(whole)), shower), shower)
    (kept,), (lengths,) = plan.kept, plan.trimmed
    assert (lengths.before, lengths.after) == (20, len(kept.trace.calls)) and lengths.after < 20
    assert kept.trace.threads == (Thread(7, "sync"),)
    assert {call.time_ns for call in kept.trace.calls} <= {call.time_ns for call in sequence}
    assert all(played.outcome == Outcome(value=0, elapsed_ns=1024) for played in kept.trace.played)
    provenance = kept.trace.header.provenance
    assert provenance["mutators"] == ["trim"]
    assert provenance["parents"] == [{"name": "0", "digest": origin_of("0", whole).digest}]


def test_calls_of_a_trimmed_trace_overlap_as_before() -> None:
    lines = {0: 'Error(E_FAIL, "")', **dict.fromkeys(range(1, 7), "Progress(NULL, 1, 9)")}
    whole = recorded("0( 1( 1) 2( 2) 3( 3) 4( 4) 5( 5) 6( 6) 0)", lines, threads="0111111")
    plan = smallest(distinct(corpus_of(whole)), InProcess())
    (kept,) = trim(plan, InProcess()).kept
    assert [event.number for event in kept.trace.events] == [0, 1, 1, 2, 2, 0]


# --- traces that kill the target ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def deadly() -> Iterator[Shower]:
    with Shower("targets.segfaults:Host", CALLBACK) as shower:
        yield shower


def test_what_kills_the_target_is_kept_apart_and_never_lost(tmp_path: Path, deadly: Shower) -> None:
    save(tmp_path / "corpus", "good", trace(*GOOD, **ORIGIN))
    killer = save(tmp_path / "corpus", "deep/killer", trace("Progress(NULL, 1, 0)", **ORIGIN))
    plan = smallest(distinct(read_corpus([tmp_path / "corpus"])), deadly)
    assert names(plan) == ["good.tape"] and [member.name for member, _ in plan.failures] == ["deep/killer.tape"]
    apart = open_folder(str(tmp_path / "out-failures"))
    assert keep_apart(plan.failures, apart) == ["deep/killer.tape"]
    assert apart.read("deep/killer.tape") == killer.read_bytes()
    assert keep_apart(plan.failures, apart) == ["deep/killer.tape"] and len(apart.names()) == 1


def test_in_place_what_goes_is_moved_and_what_stays_is_not_touched(tmp_path: Path, deadly: Shower) -> None:
    source = tmp_path / "corpus"
    held = {
        "good": save(source, "good", trace(*GOOD, **ORIGIN)).read_bytes(),
        "same": save(source, "same", trace(*GOOD, kind="generated")).read_bytes(),
        "long": save(source, "deep/long", trace(GOOD[0], *GOOD[1:3] * 9, GOOD[3], **ORIGIN)).read_bytes(),
        "killer": save(source, "killer", trace("Progress(NULL, 1, 0)", **ORIGIN)).read_bytes(),
    }
    folder = open_folder(str(source))
    plan = smallest(distinct(read_corpus([source]), note=False), deadly)
    assert move_away(plan, folder) == ["killer.tape"]
    assert folder.names() == ["good.tape"] and folder.read("good.tape") == held["good"]
    removed, failures = open_folder(f"{source}-removed"), open_folder(f"{source}-failures")
    assert removed.names() == ["deep/long.tape", "same.tape"] and failures.names() == ["killer.tape"]
    assert removed.read("same.tape") == held["same"] and removed.read("deep/long.tape") == held["long"]
    assert failures.read("killer.tape") == held["killer"]


def test_in_place_a_trimmed_trace_takes_the_place_of_the_old_one(tmp_path: Path, shower: Shower) -> None:
    path = save(tmp_path / "corpus", "long", trace(GOOD[0], *GOOD[1:3] * 9, GOOD[3], **ORIGIN))
    old = path.read_bytes()
    folder = open_folder(str(tmp_path / "corpus"))
    move_away(trim(smallest(distinct(read_corpus([path.parent]), note=False), shower), shower), folder)
    assert len(read_trace(path).calls) < 20 and folder.names() == ["long.tape"]
    assert (tmp_path / "corpus-removed" / "long.tape").read_bytes() == old
