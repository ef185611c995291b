"""The commands `corpus stats`, `verify`, `merge` and `minimise`: what they print, make, and how they end."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sequences import GOOD, save, trace

from recorder.provenance import Origin, captured, mutated
from recorder.trace import dump_trace, read_trace
from replayer.locations import Folder, open_folder
from synctape import main

ORIGIN = captured(provider="a:b")
TARGET = ("--target", "targets.segfaults:Host")
LONG = (GOOD[0], *GOOD[1:3] * 9, GOOD[3])


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["corpus", *map(str, arguments)], catch_exceptions=False)


def told(*arguments: object) -> Any:
    done = run(*arguments, "--json")
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(params=["here", "memory"])
def corpus(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Folder]:
    """A corpus with a duplicate, a needless trace and one that kills, here and behind a URL."""
    folder = open_folder(str(tmp_path / "corpus") if request.param == "here" else "memory://corpora/corpus")
    folder.write("good.tape", dump_trace(trace(*GOOD, **ORIGIN)))
    folder.write("same.tape", dump_trace(trace(*GOOD, **ORIGIN)))
    folder.write("deep/long.tape", dump_trace(trace(*LONG, **ORIGIN)))
    folder.write("killer.tape", dump_trace(trace("Progress(NULL, 1, 0)", **ORIGIN)))
    yield folder
    if request.param == "memory":
        import fsspec

        fsspec.filesystem("memory").rm("/corpora", recursive=True)


def test_stats_count(corpus: Folder) -> None:
    found = told("stats", corpus)
    assert (found["traces"], found["calls"]) == (4, 29) and len(found["duplicates"]) == 1
    done = run("stats", corpus)
    assert done.exit_code == 0 and "3 of 12 transitions" in done.stdout


def test_stats_go_on_where_a_file_is_no_trace(corpus: Folder) -> None:
    corpus.write("bad.tape", b"nothing of the kind")
    done = run("stats", corpus)
    assert (
        done.exit_code == 0 and "bad.tape: is not a synctape trace" in done.stderr and "unreadable" in done.stdout
    )


def test_verify_says_that_all_is_sound(corpus: Folder) -> None:
    done = run("verify", corpus)
    assert (done.exit_code, done.stdout) == (0, "4 files, 29 calls: all sound\n")


def test_verify_names_each_problem_in_a_line_and_fails(corpus: Folder) -> None:
    corpus.write("torn.tape", dump_trace(trace(*GOOD, **ORIGIN))[:-20])
    corpus.write("bad.tape", b"nothing of the kind")
    done = run("verify", corpus)
    first, second, last = done.stdout.splitlines()
    assert done.exit_code == 1 and last == "6 files, 33 calls: 2 problems"
    assert "bad.tape: is not a synctape trace; take it out of the corpus" in first
    assert "torn.tape: ends without an end record at byte " in second
    assert [json.loads(line)["kind"] for line in run("verify", corpus, "--json").stdout.splitlines()] == [
        *("problem", "problem", "summary")
    ]


def test_verify_minds_lost_parents_when_told(corpus: Folder) -> None:
    corpus.write("child.tape", dump_trace(trace(*GOOD[1:], **mutated([], ["cut"]))))
    assert run("verify", corpus, "--strict").exit_code == 0
    lost = Origin("lost", "0" * 16)
    corpus.write("orphan.tape", dump_trace(trace(*GOOD[2:], **mutated([lost], ["cut"]))))
    done = run("verify", corpus)
    assert done.exit_code == 0 and "1 traces were made from others that are not there" in done.stdout
    done = run("verify", corpus, "--strict")
    assert done.exit_code == 1 and "orphan.tape: was made from lost (0000000000000000)" in done.stdout


@pytest.mark.parametrize("command", ["stats", "verify"])
def test_where_there_is_nothing_it_says_so(tmp_path: Path, command: str) -> None:
    for place in ("nowhere", tmp_path, "memory://nowhere"):
        done = run(command, place)
        assert done.exit_code == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    (tmp_path / "bad.tape").write_bytes(b"nothing of the kind")
    assert run(command, tmp_path).exit_code == {"stats": 2, "verify": 1}[command]


def test_merge_leaves_duplicates_out(corpus: Folder) -> None:
    out = corpus.beside("-out")
    done = run("merge", corpus, "-o", out)
    assert done.exit_code == 0
    assert done.stdout == f"3 of 4 traces kept, 25 calls (1 duplicates): {out}\n"
    assert out.names() == ["deep/long.tape", "good.tape", "killer.tape"]
    again = told("merge", corpus, "-o", out)
    assert again["written"] == [] and out.names() == ["deep/long.tape", "good.tape", "killer.tape"]
    assert corpus.names() == ["deep/long.tape", "good.tape", "killer.tape", "same.tape"]


def test_merge_on_a_target_keeps_what_shows_something_and_failures_apart(corpus: Folder) -> None:
    out = corpus.beside("-out")
    found = told("merge", corpus, "-o", out, *TARGET)
    assert found["written"] == out.names() == ["good.tape"] and found["features"] > 5
    (failure,) = found["failures"]
    assert failure["outcome"] == "crashed" and failure["path"].endswith("corpus/killer.tape")
    assert failure["kept"].endswith("corpus-out-failures/killer.tape")
    assert out.beside("-failures").read("killer.tape") == corpus.read("killer.tape")
    assert len(found["duplicates"]) == len(found["needless"]) == 1 and len(corpus.names()) == 4


def test_what_is_merged_into_a_corpus_is_what_it_does_not_show(tmp_path: Path) -> None:
    mine = save(tmp_path / "mine", "long", trace(*LONG, **ORIGIN)).read_bytes()
    save(tmp_path / "theirs", "good", trace(*GOOD, **ORIGIN))
    save(tmp_path / "theirs", "late", trace(*GOOD, GOOD[0], **ORIGIN))
    found = told("merge", tmp_path / "theirs", "-o", tmp_path / "mine", *TARGET)
    assert found["written"] == ["late.tape"] and len(found["needless"]) == 1
    assert (tmp_path / "mine" / "long.tape").read_bytes() == mine


@pytest.mark.parametrize("corpus", ["here"], indirect=True)
def test_minimise_copies_and_leaves_the_corpus_as_it_is(corpus: Folder) -> None:
    out = corpus.beside("-small")
    done = run("minimise", corpus, "-o", out, *TARGET)
    assert done.exit_code == 0 and out.names() == ["good.tape"] and len(corpus.names()) == 4
    assert "killer.tape (crashed, " in done.stdout and "1 of 4 traces kept, 4 calls" in done.stdout
    done = run("minimise", corpus, "-o", out, *TARGET)
    assert done.exit_code == 2 and "has traces already" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("corpus", ["here"], indirect=True)
def test_minimise_in_place_moves_what_goes(corpus: Folder) -> None:
    done = run("minimise", corpus, "--in-place", *TARGET)
    assert done.exit_code == 0 and corpus.names() == ["good.tape"]
    assert corpus.beside("-removed").names() == ["deep/long.tape", "same.tape"]
    assert corpus.beside("-failures").names() == ["killer.tape"]


@pytest.mark.slow
def test_minimise_trims(tmp_path: Path) -> None:
    save(tmp_path / "corpus", "long", trace(*LONG, **ORIGIN))
    done = run("minimise", tmp_path / "corpus", "-o", tmp_path / "out", "--trim", *TARGET)
    assert done.exit_code == 0 and "trimmed: " in done.stdout
    assert len(read_trace(tmp_path / "out" / "long.tape").calls) < len(LONG)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("minimise", "corpus", *TARGET), "say where to: -o OUT, or --in-place"),
        (("minimise", "corpus", "-o", "out", "--in-place", *TARGET), "say where to"),
        (("merge", "corpus", "-o", "out", "--trim"), "--trim and --cover need --target"),
        (("merge", "corpus", "-o", "out", "--cover", "sequences"), "--trim and --cover need --target"),
        (("merge", "corpus", "-o", "out", "--cover", "nowhere.at.all", *TARGET), "nowhere.at.all: "),
        (("merge", "nowhere", "-o", "out"), "nowhere: no such file or folder"),
        (("merge", "corpus", "-o", "file"), "file: is a file, not a folder"),
        (("merge", "corpus", "-o", "out", "--target", "targets.nowhere:Host"), "targets.nowhere"),
        (("merge", "corpus", "-o", "out", "--target", "targets.factory_fails:Host"), "the factory raised"),
        (("merge", "corpus", "-o", "nonsense://x"), "Protocol not known"),
    ],
)
def test_bad_input_is_a_line_and_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    save(tmp_path / "corpus", "good", trace(*GOOD, **ORIGIN))
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert done.exit_code == 2 and said in done.stderr and done.stdout == ""
    assert sorted(os.listdir(tmp_path)) == ["corpus", "file"]
