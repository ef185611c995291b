"""The traces that ship: all there, captured, readable, and the ones of our provider can be captured anew."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from corpora import folder
from fuzz.corpora import SCENARIOS, capture_scenarios
from fuzz.corpus_cli import corpus
from fuzz.soundness import unsound
from recorder.contract import lint
from recorder.errors import TraceError
from replayer.corpus import find_traces, load, read_corpus
from replayer.isolation import Here
from replayer.oracles import Judge
from replayer.samples.send_receive import HastySendReceiveDialog, SendReceiveDialog
from replayer.target import object_target
from replayer.verdict import Status, replay_file

CAPTURED = find_traces([folder() / "captured"])
OURS = [path for path in CAPTURED if path.stem in SCENARIOS]
STORE = [path for path in CAPTURED if path.stem.startswith("store_")]  # examples/imap_provider


def test_the_captures_are_there() -> None:
    assert sum("style" in load(path).header.provenance for path in CAPTURED) == 52  # the prototype's
    assert sorted(path.stem for path in OURS) == sorted(SCENARIOS)
    assert folder("INowhere").name == "inowhere"


@pytest.mark.parametrize("path", CAPTURED, ids=lambda path: path.stem)
def test_a_capture_is_whole_and_tells_its_origin(path: Path) -> None:
    trace = load(path)
    assert trace.damage is None and trace.calls
    provenance = trace.header.provenance
    assert provenance["kind"] == "captured" and provenance["scenario"]
    assert all(played.outcome is not None for played in trace.played)


def test_the_corpus_is_sound() -> None:
    corpus = read_corpus([folder()])
    assert len(corpus.members) > len(CAPTURED) and unsound(corpus) == [] == corpus.unreadable


def test_the_scenarios_are_what_they_are_named_for() -> None:
    last = {path.stem: load(path).calls[-1].args for path in OURS}
    assert last["mail_succeeds"][1] == last["mail_large"][1] == last["mail_empty"][1] == 0
    assert all(isinstance(last[f"mail_{name}"][1], int) for name in ("fails_half_way", "cancelled"))
    assert {last["mail_fails_half_way"][1], last["mail_cancelled"][1]} == {-2147221235, -2147221229}
    assert len(load(folder() / "captured" / "mail_large.tape").calls) > 200
    assert {call.thread for call in load(folder() / "captured" / "mail_two_threads.tape").calls} != {0}
    texts = [call.args[0] for path in OURS for call in load(path).calls if call.method == "Progress"]
    assert any(isinstance(text, str) and not text.isascii() for text in texts)


@pytest.mark.parametrize("path", [*OURS, *STORE], ids=lambda path: path.stem)
def test_our_provider_breaks_no_documented_rule(path: Path) -> None:
    assert not [v for v in lint(load(path)) if v.rule.severity == "E"]


def test_no_capture_alone_shows_the_bug_of_the_hasty_dialog() -> None:
    for host in (SendReceiveDialog, HastySendReceiveDialog):
        player = Here(object_target(host))
        for path in CAPTURED:
            trace = load(path)
            assert Judge.of(trace).findings(player.play(trace)) == [], path.name


def test_the_regressions_fail_on_the_buggy_dialog_and_are_fixed_on_the_correct_one() -> None:
    paths = find_traces([folder() / "regressions"])
    assert paths
    for path in paths:
        assert replay_file(path, Here(object_target(HastySendReceiveDialog))).status is Status.FAILED
        assert replay_file(path, Here(object_target(SendReceiveDialog))).status is Status.FIXED


def test_the_scenarios_can_be_captured_anew(tmp_path: Path) -> None:
    done = CliRunner().invoke(corpus, ["capture", "-o", str(tmp_path)], catch_exceptions=False)
    assert done.exit_code == 0
    told = dict(line.split()[:2] for line in done.output.splitlines())
    assert sorted(Path(name).stem for name in told) == sorted(SCENARIOS)
    for name, count in told.items():
        path = Path(name)
        trace, shipped = load(path), load(folder() / "captured" / path.name)
        assert len(trace.calls) == int(count)
        if path.stem != "mail_two_threads":
            assert [(c.method, c.args) for c in trace.calls] == [(c.method, c.args) for c in shipped.calls]
        else:
            assert Counter(c.method for c in trace.calls) == Counter(c.method for c in shipped.calls)
        assert trace.header.provenance["provider"].startswith("recorder.samples.mail_folders:")


@pytest.mark.parametrize(("option", "mode"), [("--redact", "texts"), ("--redact=strict", "strict")])
def test_they_can_be_captured_without_their_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, mode: str
) -> None:
    monkeypatch.setattr("fuzz.corpora.SCENARIOS", {"mail_succeeds": SCENARIOS["mail_succeeds"]})
    done = CliRunner().invoke(corpus, ["capture", option, "-o", str(tmp_path)], catch_exceptions=False)
    assert done.exit_code == 0
    trace, shipped = load(tmp_path / "mail_succeeds.tape"), load(folder() / "captured" / "mail_succeeds.tape")
    assert trace.header.redaction == mode
    texts = {text for call in shipped.calls for text in call.args if isinstance(text, str) and text}
    assert texts and texts.isdisjoint(text for call in trace.calls for text in call.args)
    assert [call.method for call in trace.calls] == [call.method for call in shipped.calls]


def test_capturing_leaves_what_is_there_unless_told(tmp_path: Path) -> None:
    (tmp_path / "mail_succeeds.tape").write_bytes(b"mine")
    with pytest.raises(TraceError, match="exists already"):
        next(capture_scenarios(tmp_path))
    assert (tmp_path / "mail_succeeds.tape").read_bytes() == b"mine"
    path, count = next(capture_scenarios(tmp_path, overwrite=True))
    assert len(load(path).calls) == count > 0
