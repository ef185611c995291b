"""Baselines: what is known does not count, what is new does, and a file that is none is left alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sequences import GOOD, regression, save, trace

from fuzz.baseline import Baseline, Entry
from recorder.calls import Trace
from recorder.contract import Level
from recorder.errors import SynctapeError
from replayer.oracles import Finding
from synctape import main

MAY = date(2026, 5, 1)
NULL = "Progress(NULL, 0, 1)"
NULL_TEXT = "targets.raises_on_null_text:Host"


def finding(place: str = "host.py:12 in f", message: str = "KeyError: 1", **more: Any) -> Finding:
    return Finding("X3", "exception", 0, "Progress", message, place, **more)


def entry(found: Finding, when: date = MAY, **more: Any) -> Entry:
    return Entry.of(found, trace(NULL), when, **more)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


# ---------------------------------------------------------------------------------------------- what is known


def test_a_known_finding_is_known_and_another_is_not() -> None:
    baseline = Baseline([entry(finding(), note="ticket 17")])
    other = finding("host.py:40 in g")
    known = baseline.known([finding(), other])
    assert list(known) == [finding().fingerprint]
    assert known[finding().fingerprint].excuse == "known since 2026-05-01: ticket 17"


def test_lines_may_move() -> None:
    moved = finding("host.py:19 in f", "KeyError: 2")
    assert list(Baseline([entry(finding())]).known([moved])) == [moved.fingerprint]


@pytest.mark.parametrize(
    "other",
    [finding("host.py:19 in g"), finding("host.py:19 in f", "TypeError: no"), finding("other.py:12 in f")],
)
def test_what_differs_in_more_than_the_line_is_new(other: Finding) -> None:
    assert not Baseline([entry(finding())]).known([other])


def test_an_entry_stands_for_one_finding_a_second_one_of_its_kind_is_new() -> None:
    twin = finding("host.py:14 in f")
    assert list(Baseline([entry(finding())]).known([twin, finding()])) == [finding().fingerprint]
    assert len(Baseline([entry(finding())]).known([twin, finding("host.py:15 in f")])) == 1


def test_updating_keeps_date_and_note_and_takes_the_new_place() -> None:
    old = Baseline([entry(finding(), note="ticket 17"), entry(finding("host.py:40 in g"))])
    moved, new = finding("host.py:19 in f"), finding("host.py:60 in h")
    after = old.updated([entry(moved, date(2026, 6, 1)), entry(new, date(2026, 6, 1))])
    assert {e.place: (e.first_seen, e.note) for e in after.entries.values()} == {
        "host.py:19 in f": ("2026-05-01", "ticket 17"),
        "host.py:40 in g": ("2026-05-01", ""),
        "host.py:60 in h": ("2026-06-01", ""),
    }
    assert after.updated([entry(moved, date(2027, 1, 1))]).entries == after.entries


# -------------------------------------------------------------------------------------------------- the file


def test_a_file_reads_back_and_is_sorted_whatever_the_order(tmp_path: Path) -> None:
    odd = finding("", "odd \ud800 \x1b text", level=Level.HOSTILE)
    entries = [entry(finding("b.py:1 in f")), entry(odd, options=("--slow", "0.2")), entry(finding("a.py:1 in f"))]
    first, second = tmp_path / "new" / "a.json", tmp_path / "b.json"
    Baseline(entries).write(first)
    Baseline(reversed(entries)).write(second)
    assert first.read_bytes() == second.read_bytes()
    read = Baseline.read(first)
    assert read.entries == Baseline(entries).entries
    assert read.entries[odd.fingerprint].sequence.calls == trace(NULL).calls


def whole() -> dict[str, Any]:
    made = entry(finding())
    return {
        "synctape_baseline": 1,
        "findings": [{name: getattr(made, name) for name in made.__dataclass_fields__}],
    }


def changed(change: Callable[[dict[str, Any]], object]) -> str:
    data = whole()
    change(data)
    return json.dumps(data)


BAD = {
    "not JSON": ("{", "is no baseline"),
    "another file": ("[]", "has no 'synctape_baseline'"),
    "deep": ("[" * 100_000, "is no baseline"),
    "newer": (changed(lambda d: d.update(synctape_baseline=2)), "has format 2, this synctape reads 1"),
    "no list": (changed(lambda d: d.update(findings={})), "are no list"),
    "no object": (changed(lambda d: d.update(findings=[1])), "finding 1 is no object"),
    "missing": (changed(lambda d: d["findings"][0].pop("level")), "finding 1 has no 'level'"),
    "type": (changed(lambda d: d["findings"][0].update(note=5)), "'note' is no text"),
    "trace type": (changed(lambda d: d["findings"][0].update(trace=[1])), "'trace' is no list of texts"),
    "date": (changed(lambda d: d["findings"][0].update(first_seen="May")), "'first_seen' is no date"),
    "level": (changed(lambda d: d["findings"][0].update(level="odd")), "no level 'odd'"),
    "trace": (changed(lambda d: d["findings"][0].update(trace=["no"])), "its trace does not read"),
    "edited": (changed(lambda d: d["findings"][0].update(place="x.py:1 in f")), "its fingerprint is not that"),
    "twice": (changed(lambda d: d["findings"].append(d["findings"][0])), "two of its findings have one"),
}


@pytest.mark.parametrize(("text", "said"), BAD.values(), ids=BAD)
def test_what_is_no_baseline_is_refused_in_a_line_and_left_as_it_is(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "known.json"
    path.write_text(text, "utf-8")
    found = save(tmp_path, "found", regression("X3", NULL, **FACTS))
    for arguments in (
        ("list", path),
        ("prune", path, "--target", NULL_TEXT),
        ("update", found, "--baseline", path),
    ):
        result = run("baseline", *arguments)
        assert result.exit_code == 2 and result.stdout == ""
        assert said in result.stderr and result.stderr.count("\n") == 1
    assert path.read_text("utf-8") == text


def test_a_file_that_is_not_there_is_an_error_to_read(tmp_path: Path) -> None:
    with pytest.raises(SynctapeError, match=r"no such file; --update-baseline makes one"):
        Baseline.read(tmp_path / "none.json")


# ---------------------------------------------------------------------------------------------- the commands

FACTS = {
    "oracle": "exception",
    "method": "Progress",
    "message": "TypeError: object of type 'NoneType' has no len()",
    "place": "elsewhere.py:1 in f",
    "level": "conforming",
}


def test_update_takes_findings_and_list_tells_them(tmp_path: Path) -> None:
    save(tmp_path / "findings", "X3", regression("X3", NULL, **FACTS))
    save(tmp_path / "findings" / "originals", "X3", regression("X3", NULL, NULL, **FACTS))
    path = tmp_path / "known.json"
    done = run("baseline", "update", tmp_path / "findings", "--baseline", path, "--note", "ticket 17")
    assert done.exit_code == 0 and "1 known findings, 1 of them new here" in done.stdout
    (known,) = Baseline.read(path).entries.values()
    assert len(known.sequence.calls) == 1
    listed = run("baseline", "list", path).stdout
    assert listed.startswith(known.fingerprint) and "X3   Progress at elsewhere.py:1 in f" in listed
    assert "(ticket 17)" in listed
    again = run("baseline", "update", tmp_path / "findings" / "X3.tape", "--baseline", path)
    assert "1 known findings, 0 of them new here" in again.stdout
    assert Baseline.read(path).entries[known.fingerprint].note == "ticket 17"


def test_update_refuses_a_trace_that_was_not_kept_for_a_finding(tmp_path: Path) -> None:
    plain = save(tmp_path, "good", trace(*GOOD))
    done = run("baseline", "update", plain, "--baseline", tmp_path / "known.json")
    assert done.exit_code == 2 and "was not kept for a finding" in done.stderr
    assert not (tmp_path / "known.json").exists()


def known_file(folder: Path, *traces: tuple[Finding, Trace]) -> Path:
    path = folder / "known.json"
    Baseline(Entry.of(found, recorded, MAY, note="n") for found, recorded in traces).write(path)
    return path


def test_prune_drops_what_is_gone_and_moves_what_moved(tmp_path: Path) -> None:
    still = finding("elsewhere.py:1 in f", FACTS["message"])
    gone = finding("gone.py:1 in g")
    path = known_file(tmp_path, (still, trace(NULL)), (gone, trace('Progress("text", 0, 1)')))
    before = path.read_bytes()
    dry = run("baseline", "prune", path, "--target", NULL_TEXT, "--dry-run", "--tries", "2")
    assert dry.exit_code == 0 and "1 would be dropped" in dry.stdout and path.read_bytes() == before

    done = run("baseline", "prune", path, "--target", NULL_TEXT, "--tries", "2")

    assert done.exit_code == 0 and "2 known findings, 1 dropped" in done.stdout
    assert [line.split()[:2] for line in done.stdout.splitlines()[:2]] == [
        ["moved", still.fingerprint],
        ["gone", gone.fingerprint],
    ]
    (left,) = Baseline.read(path).entries.values()
    assert left.place.startswith("raises_on_null_text.py:") and (left.first_seen, left.note) == ("2026-05-01", "n")
    kept = run("baseline", "prune", path, "--target", NULL_TEXT, "--tries", "2")
    assert kept.stdout.startswith("kept") and Baseline.read(path).entries == {left.fingerprint: left}


def test_prune_waits_for_a_finding_that_shows_now_and_then(tmp_path: Path) -> None:
    path = known_file(
        tmp_path, (Finding("X3", "exception", 0, "Error", "RuntimeError: the seventh"), trace('Error(S_OK, "")'))
    )
    assert "moved" in run("baseline", "prune", path, "--target", "targets.fails_sometimes:Host").stdout
    few = run("baseline", "prune", path, "--target", "targets.fails_sometimes:Host", "--tries", "3")
    assert few.stdout.startswith("gone")


def test_prune_with_a_bad_target_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    path = known_file(tmp_path, (finding(), trace(NULL)))
    before = path.read_bytes()
    for target in ("targets.none:Host", "targets.factory_fails:Host"):
        done = run("baseline", "prune", path, "--target", target)
        assert done.exit_code == 2 and done.stderr.startswith("synctape: target ") and path.read_bytes() == before


def test_prune_with_options_that_do_not_read_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "known.json"
    Baseline([entry(finding(), options=("--odd", "1"))]).write(path)
    before = path.read_bytes()
    done = run("baseline", "prune", path, "--target", NULL_TEXT)
    assert done.exit_code == 2 and "no option '--odd'" in done.stderr and "left as it is" in done.stderr
    assert path.read_bytes() == before
