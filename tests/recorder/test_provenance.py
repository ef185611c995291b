"""Provenance: each kind is made, survives its file, is checked and put in words."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sequences import CALLBACK, GOOD, calls, save, trace

from recorder.calls import Call, Handle, Header, Trace
from recorder.interface import Interface
from recorder.interfaces import IUNKNOWN
from recorder.provenance import (
    KINDS,
    Origin,
    captured,
    digest,
    finding,
    generated,
    imported,
    merged,
    mutated,
    origin_of,
    origins,
    problems,
    told,
)
from recorder.show_cli import show
from recorder.trace import dump_trace, load_trace
from recorder.writer import live_header

PAGE = Path(__file__).parent.parent.parent / "docs" / "trace-format.md"
GOOD_ONE = Origin("good", "0123456789abcdef")
MADE = {
    "captured": captured(provider="mail:sync", scenario="large"),
    "imported": imported("sync.jsonl", server="dovecot"),
    "mutated": mutated([GOOD_ONE, Origin("bad")], ["swap", "insert"], seed=7, batch=3, number=12),
    "generated": generated(seed=7, batch=3, number=12),
    "finding": finding("batch 3", {"code": "X3"}, minimised=True),
    "merged": merged([GOOD_ONE], captured(recorder="synctape")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_made_of_each_kind_is_whole_and_survives_its_file(kind: str) -> None:
    made = MADE[kind]
    assert made["kind"] == kind and problems(made) == []
    assert load_trace(dump_trace(trace(*GOOD, **made))).header.provenance == made


@pytest.mark.parametrize(
    ("provenance", "wrong"),
    [
        ({}, "is missing"),
        ({"provider": "x"}, "has no kind"),
        ({"kind": "found"}, "unknown kind, 'found'; there are captured, "),
        ({"kind": ["captured"]}, "unknown kind"),
        ({"kind": "captured"}, "has none of provider, scenario, recorder"),
        ({"kind": "captured", "provider": 1}, "has a provider that is no text"),
        ({"kind": "imported"}, "has no source"),
        ({"kind": "mutated", "parents": []}, "has no mutators"),
        ({"kind": "mutated", "parents": {}, "mutators": []}, "has a parents that is no list"),
        ({"kind": "mutated", "parents": ["a"], "mutators": []}, "parents without a name and a digest"),
        ({"kind": "mutated", "parents": [{"name": "a", "digest": "xyz"}], "mutators": []}, "parents without"),
        ({"kind": "generated", "seed": "7"}, "has a seed that is no integer"),
        ({"kind": "finding", "origin": "batch 1", "finding": "X3"}, "has a finding that is no map"),
        ({"kind": "merged", "sources": [], "was": "captured"}, "(captured) has none of"),
        ({"kind": "merged", "sources": [], "was": "merged"}, "was merged"),
    ],
)
def test_what_is_wrong_is_told(provenance: dict[str, Any], wrong: str) -> None:
    assert any(wrong in line for line in problems(provenance))


def test_a_digest_is_of_the_calls_alone() -> None:
    sequence = calls(*GOOD)
    late = [call._replace(time_ns=99) for call in sequence]
    assert digest(sequence, CALLBACK) == digest(late, CALLBACK) == origin_of("good", trace(*GOOD, kind="x")).digest
    changed = [
        sequence[:-1],
        sequence[::-1],
        [sequence[0]._replace(thread=1), *sequence[1:]],
        [sequence[0]._replace(method="Error"), *sequence[1:]],
        [*sequence[:-1], Call("Done", (Handle(1), 0))],
        [*sequence[:-1], Call("Done", (0, 0))],
    ]
    other = Interface("IOther", "{0002031f-0000-0000-c000-0000000000aa}", (), base=IUNKNOWN)
    digests = [digest(one, CALLBACK) for one in changed] + [digest(sequence, CALLBACK), digest(sequence, other)]
    assert len(set(digests)) == len(digests)


def test_a_digest_takes_whatever_a_trace_holds() -> None:
    hostile = [Call("Progress", ("\ud800", 2**70, 0.5)), Call("Progress", (b"\xff", True, None))]
    assert len(digest(hostile, CALLBACK)) == 16
    assert digest([Call("Progress", (b"\xff",))], CALLBACK) != digest([Call("Progress", ("ff",))], CALLBACK)


def test_the_page_says_how_a_digest_is_made() -> None:
    page = PAGE.read_text(encoding="utf-8")
    found = re.search(r"((?: {4}[^\n]*\n)+)\nhas the digest `(\w+)`", page)
    assert found is not None
    hashed = "".join(f"{line.strip()}\n" for line in found[1].splitlines())
    assert hashlib.sha256(hashed.encode("ascii")).hexdigest()[:16] == found[2]
    sequence = [Call("Progress", ("Entwürfe", 0, 2)), Call("Done", (Handle(0), 0))]
    assert digest(sequence, CALLBACK) == found[2]


def test_the_page_names_each_kind_and_its_facts() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.M)
    told_of = dict(rows)
    for name, kind in KINDS.items():
        facts = {*kind.needed, *kind.either, *kind.known}
        assert [fact for fact in facts if f"`{fact}`" not in told_of[name]] == []


def test_a_merged_one_keeps_what_it_was_and_names_each_source_once() -> None:
    once = merged([GOOD_ONE], finding("batch 3", {"code": "X3"}, minimised=True))
    assert once["was"] == "finding" and once["finding"] == {"code": "X3"}
    again = merged([GOOD_ONE, Origin("b", "f" * 16)], once)
    assert again["was"] == "finding" and origins(again) == [GOOD_ONE, Origin("b", "f" * 16)]
    assert problems(merged([], {})) == []


def test_a_live_recording_says_that_it_is_one() -> None:
    assert problems(live_header().provenance) == [] and live_header().provenance["kind"] == "captured"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("captured", "kind captured, provider mail:sync, scenario large"),
        ("mutated", "mutated from good (0123456789abcdef), bad by swap, insert; seed 7, batch 3, number 12"),
        ("generated", "generated; seed 7, batch 3, number 12"),
        ("merged", "merged from good (0123456789abcdef); captured, recorder synctape"),
    ],
)
def test_show_says_where_a_trace_comes_from(tmp_path: Path, kind: str, words: str) -> None:
    path = save(tmp_path, "one", trace(*GOOD, **MADE[kind]))
    done = CliRunner().invoke(show, [str(path)], catch_exceptions=False)
    assert any(line.split(None, 1) == ["provenance", words] for line in done.output.splitlines()), done.output


def test_show_takes_a_provenance_of_any_shape(tmp_path: Path) -> None:
    odd = {"kind": "mutated", "parents": [{"name": "\x1b[31m"}], "mutators": 3}
    path = save(tmp_path, "odd", Trace.from_calls(calls(*GOOD), Header(provenance=odd)))
    done = CliRunner().invoke(show, [str(path)], catch_exceptions=False)
    assert done.exit_code == 0 and "\x1b" not in done.output
    assert told(odd) is None and told({}) is None
