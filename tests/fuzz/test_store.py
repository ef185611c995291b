"""A campaign's folder: nothing in it is lost or half written, and a campaign goes on where it was."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sequences import GOOD, trace
from targets.imapi_progress import IMAPI_PROGRESS

from fuzz.begin import gone_on_with, options_given
from fuzz.campaign import Campaign
from fuzz.progress import CampaignOptions, Progress, Summary
from fuzz.search import Played
from fuzz.soundness import unsound
from fuzz.store import CampaignFolder, StoreError
from recorder import provenance
from recorder.calls import Trace
from recorder.contract import Level
from recorder.interface import Interface
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK as CALLBACK
from recorder.trace import read_trace, write_trace
from replayer.corpus import read_corpus

TESTS = Path(__file__).parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]), "PYTHONUTF8": "1"}
SEEDS = [("good", trace(*GOOD)), ("short", trace("Done(NULL, S_OK)"))]


def options(**changed: object) -> CampaignOptions:
    fixed = {"seed": 1, "max_time": None, "max_runs": 300, "timeout": 1.0, "batch": 100, **changed}
    return CampaignOptions(**fixed)  # type: ignore[arg-type]


def begun(path: Path, name: str = "clean", **changed: object) -> CampaignFolder:
    return CampaignFolder.create(path, f"targets.{name}:Host", SEEDS, options(**changed), CALLBACK)


def opened(path: Path, said: list[str] | None = None) -> CampaignFolder:
    def warn(line: str) -> None:
        assert said is not None, line
        said.append(line)

    return CampaignFolder.open(path, warn)


def run(store: CampaignFolder, announced: list[str] | None = None) -> Summary:
    def announce(found: object, path: Path | None) -> None:
        if announced is not None:
            announced.append(str(path))

    with store:
        return Campaign.stored(store, announce=announce).run()


def tapes(path: Path) -> set[str]:
    return {file.relative_to(path).as_posix() for file in path.rglob("*.tape")}


# --- going on -------------------------------------------------------------------------------------------------


def test_a_campaign_goes_on_where_it_was(tmp_path: Path) -> None:
    whole = run(begun(tmp_path / "whole", max_runs=600))
    half = run(begun(tmp_path / "parts", max_runs=300))
    assert half.progress.runs == 300 and half.stopped == "runs"
    before = replace(half.progress, levels=half.progress.levels.copy())
    kept = tapes(tmp_path / "parts" / "corpus")
    rest = run(opened(tmp_path / "parts")).progress
    assert (rest.runs, rest.corpus, rest.levels) == (600, 2, whole.progress.levels)
    assert rest.seconds > before.seconds > 0 and rest.calls > before.calls
    assert kept <= tapes(tmp_path / "parts" / "corpus"), "the first half is that of the whole one"
    assert kept <= tapes(tmp_path / "whole" / "corpus")


def test_what_was_kept_is_read_back_as_it_was(tmp_path: Path) -> None:
    """With what it brought, lone surrogates and all."""
    with begun(tmp_path / "c") as store:
        campaign = Campaign.stored(store)
        campaign.run()
        odd = [[("Progress", ("a \ud800 b", 0, 2), 0)], *campaign.kept[-1][1:]]
        store.keep(Played(9, Level.HOSTILE, 0, fresh=[odd]))
    with opened(tmp_path / "c") as again:
        assert plain(again.fresh) == plain([*campaign.kept, odd]) and len(campaign.kept) > 10


def plain(value: object) -> object:
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value


def test_what_was_found_before_is_known_and_not_announced_again(tmp_path: Path) -> None:
    announced: list[str] = []
    first = run(begun(tmp_path / "c", "raises_after_done", max_runs=600), announced)
    (found,) = first.found
    assert announced == [str(tmp_path / "c" / "findings" / f"{found.name}.tape")] and first.new == [found]
    again = run(opened(tmp_path / "c"), announced)
    (known,) = again.found
    assert len(announced) == 1 and again.new == [] and known.known and not again.gone
    assert (known.name, known.calls, known.original) == (found.name, found.calls, found.original)
    assert (known.finding, known.executions, known.origin) == (found.finding, found.executions, found.origin)
    assert again.files == first.files and again.progress.failures == 1


@pytest.mark.slow
def test_a_failure_that_is_mended_is_gone_and_news_if_it_comes_back(tmp_path: Path) -> None:
    source = (TESTS / "targets" / "divides_by_max.py").read_text(encoding="utf-8")
    host = tmp_path / "mended_meanwhile.py"

    def fuzz(*arguments: str) -> list[dict[str, object]]:
        command = [sys.executable, "-m", "synctape", "fuzz", "--json", *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False
        )
        assert not done.stderr and done.returncode in (0, 1), done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    host.write_text(source, encoding="utf-8")
    fixed = ("--seed", "1", "--max-runs", "500")
    first = fuzz("--target", "mended_meanwhile:Host", "--campaign", "c", *fixed)
    assert [entry.get("known") for entry in first] == [False, None]
    host.write_text(source.replace("// maximum", "// (maximum or 1)").replace("/ maximum", "/ (maximum or 1)"))
    assert len(fuzz("--resume", "c")) == 1
    host.write_text(source, encoding="utf-8")
    assert [entry.get("known") for entry in fuzz("--resume", "c")] == [True, None]


def test_options_stay_unless_they_are_given_anew(tmp_path: Path) -> None:
    before = options(level=Level.LENIENT, disabled=frozenset({"handle", "slow"}), memory=300, jobs=2, tries=4)
    CampaignFolder.create(tmp_path / "c", "targets.clean:Host", SEEDS, before, CALLBACK).close()
    with opened(tmp_path / "c") as store:
        assert store.options == before
        anew = options(max_time=5.0, max_runs=None, level=Level.HOSTILE, jobs=1)
        beginning = gone_on_with(store, anew, {"max_time", "level", "junit"})
        expected = replace(before, max_time=5.0, max_runs=None, level=Level.HOSTILE)
        assert beginning.options == store.options == expected
    assert options_given(before, anew, {"disable", "exitfirst"}) == replace(before, disabled=frozenset())
    far = replace(before, cluster="tcp://there:8786")
    assert options_given(far, anew, {"seed"}).cluster and not options_given(far, anew, {"jobs"}).cluster


def test_seeds_stay_and_more_can_be_added_which_are_replayed(tmp_path: Path) -> None:
    run(begun(tmp_path / "c", max_runs=100))
    more = trace('Progress("more", 1, 2)', "Done(NULL, S_OK)")
    with opened(tmp_path / "c") as store:
        assert store.seeds == SEEDS and store.replayed == 2
        given = [("again", SEEDS[0][1]), ("more", more)]
        gone_on_with(store, options(), set(), seeds=lambda interface: given)
        summary = Campaign.stored(store).run()
    assert summary.progress.corpus == 3
    with opened(tmp_path / "c") as store:
        assert store.seeds == [*SEEDS, ("more", more)]


def test_more_jobs_can_go_on_with_it(tmp_path: Path) -> None:
    run(begun(tmp_path / "c", max_runs=200))
    with opened(tmp_path / "c") as store:
        gone_on_with(store, options(jobs=2), {"jobs"})
        summary = Campaign.stored(store).run()
    assert summary.progress.runs == 400
    with opened(tmp_path / "c") as store:
        assert len(store.fresh) == summary.progress.kept == len(tapes(tmp_path / "c" / "corpus"))


# --- what is in it --------------------------------------------------------------------------------------------


def test_each_sequence_kept_says_where_it_comes_from(tmp_path: Path) -> None:
    summary = run(begun(tmp_path / "c"))
    kept = [read_trace(file) for file in (tmp_path / "c" / "corpus").glob("*.tape")]
    assert len(kept) == summary.progress.kept > 3
    for one in kept:
        facts = one.header.provenance
        assert not provenance.problems(facts) and facts["kind"] in ("mutated", "generated")
        assert facts["seed"] == 1 and 0 <= facts["batch"] < 8 and one.interface == CALLBACK
        assert 0 <= facts["number"] < 200 and (facts["kind"] == "generated") is not bool(facts.get("parents"))
    assert any(one.header.provenance.get("mutators") for one in kept)
    parents = [origin for one in kept for origin in provenance.origins(one.header.provenance)]
    assert {origin.name for origin in parents} > {"good"}, "seeds by their names, kept ones by their digests"
    assert not [wrong for wrong in unsound(read_corpus([tmp_path / "c"])) if wrong.kind == "parent"]


def test_statistics_are_snapshots_a_line_each_in_the_order_of_time(tmp_path: Path) -> None:
    summary = run(begun(tmp_path / "c"))
    run(opened(tmp_path / "c"))
    snapshots = [json.loads(line) for line in (tmp_path / "c" / "stats.jsonl").read_text().splitlines()]
    assert summary.progress.snapshot() in snapshots and snapshots[-1]["runs"] == 600
    assert [s["seconds"] for s in snapshots] == sorted(s["seconds"] for s in snapshots)
    with opened(tmp_path / "c") as store:
        assert store.progress.history.snapshots[0] == snapshots[0]


def test_a_line_that_was_cut_is_taken_no_notice_of(tmp_path: Path) -> None:
    run(begun(tmp_path / "c"))
    stats = tmp_path / "c" / "stats.jsonl"
    whole = stats.read_bytes()
    stats.write_bytes(whole + b'{"seconds": 99, "ru')
    opened(tmp_path / "c").close()
    assert stats.read_bytes() == whole


def test_batch_numbers_go_on_and_past_all_that_may_have_been_handed_out(tmp_path: Path) -> None:
    summary = run(begun(tmp_path / "ended", max_runs=250))
    assert summary.stopped == "runs"
    with opened(tmp_path / "ended") as store:
        assert store.next == 4  # of 32, 64, 100, and what was left
    with begun(tmp_path / "killed") as store:
        store.save(Progress(runs=1), 7, force=True)
    with opened(tmp_path / "killed") as store:
        assert store.next >= 7


def test_traces_of_others_are_started_from_and_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    run(begun(tmp_path / "c", "two_bugs"))
    corpus, findings = tmp_path / "c" / "corpus", tmp_path / "c" / "findings"
    kept, found = (
        len(tapes(corpus)),
        len(tapes(findings) - {f"originals/{f.name}" for f in findings.glob("*.tape")}),
    )
    write_trace(trace('Progress("mine", 1, 2)'), corpus / "mine.tape")
    write_trace(trace('Progress("mine", 1, 2)'), findings / "mine.tape")
    write_trace(Trace.from_calls([]), corpus / "empty.tape")
    write_trace(Trace(replace(trace().header, interface=IMAPI_PROGRESS)), corpus / "other.tape")
    (corpus / "broken.tape").write_bytes(b"no trace")
    (corpus / ".synctape-0123").write_bytes(b"half a tra")
    said: list[str] = []
    with opened(tmp_path / "c", said) as store:
        assert len(store.fresh) == kept + 1 and len(store.found) == found
    assert sorted(line.split(": ")[0].rpartition(os.sep)[2] for line in said) == [
        "broken.tape",
        "mine.tape",
        "other.tape",
    ]
    assert not (corpus / ".synctape-0123").exists()


# --- what is refused ------------------------------------------------------------------------------------------


def test_a_folder_with_something_in_it_is_not_begun_in(tmp_path: Path) -> None:
    run(begun(tmp_path / "c", max_runs=100))
    with pytest.raises(StoreError, match="holds a campaign; --resume"):
        begun(tmp_path / "c")
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "thesis.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"is not empty.*thesis\.txt"):
        begun(tmp_path / "papers")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        begun(tmp_path / "file")


def test_a_campaign_that_could_not_begin_can_be_begun_again(tmp_path: Path) -> None:
    with begun(tmp_path / "c", "nowhere"):
        pass
    assert run(begun(tmp_path / "c", max_runs=100)).progress.runs == 100


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (None, "holds no campaign"),
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"format": 2}', "has format 2, this synctape reads 1"),
        ('{"format": 1}', "is damaged"),
    ],
)
def test_what_is_no_campaign_cannot_be_gone_on_with(tmp_path: Path, kept: str | None, said: str) -> None:
    if kept is not None:
        (tmp_path / "campaign.json").write_text(kept)
    with pytest.raises(StoreError, match=said):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("spec", "interface", "said"),
    [
        ("targets.two_bugs:Host", None, "a campaign on targets.clean:Host, not on"),
        (None, IMAPI_PROGRESS, "another interface"),
    ],
)
def test_another_target_or_interface_is_another_campaign(
    tmp_path: Path, spec: str | None, interface: Interface | None, said: str
) -> None:
    begun(tmp_path / "c").close()
    for _ in range(2):  # it is not in use when it was refused
        with pytest.raises(StoreError, match=said):
            gone_on_with(opened(tmp_path / "c"), options(), set(), spec=spec, interface=interface)


def test_only_one_process_works_on_a_campaign(tmp_path: Path) -> None:
    with begun(tmp_path / "c"), pytest.raises(StoreError, match="another process is working"):
        opened(tmp_path / "c")
    opened(tmp_path / "c").close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--resume", "nowhere"), "holds no campaign"),
        (("--resume", "nowhere", "--campaign", "c"), "only one of them"),
        (("--campaign", "c", "--target", "targets.clean:Host", "--findings", "f"), "leave --findings out"),
        (("--campaign", "c"), "Missing option '--target'"),
    ],
)
def test_the_command_line_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    from click.testing import CliRunner

    from fuzz.cli import fuzz

    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(fuzz, arguments)
    assert result.exit_code == 2 or isinstance(result.exception, StoreError)
    assert said in result.output + str(result.exception) and not os.listdir()


# --- killed ---------------------------------------------------------------------------------------------------


def test_a_process_that_ends_between_any_two_writes_loses_nothing_that_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if it were killed at the first, second, ... renaming."""
    replace_file, ended = os.replace, 0

    class Killed(BaseException):
        pass

    def played(number: int) -> Played:
        calls = [("Progress", (None, number, 9), 0)]
        return Played(number, Level.HOSTILE, 0, fresh=[(calls, ["drop"]), ([*calls, ("Done", (None, 0), 0)], [])])

    for moment in range(12):
        path, left = tmp_path / str(moment), moment
        promised = 0

        def replaced(source: str, target: str) -> None:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            replace_file(source, target)

        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", replaced)
            try:
                with begun(path) as store:
                    for number in range(3):
                        store.keep(played(number))
                        promised = 2 * number + 2
                        store.save(Progress(runs=number + 1), number + 1, force=True)
            except Killed:
                ended += 1
        if not (path / "campaign.json").exists():
            assert not promised
            begun(path).close()
            continue
        with opened(path) as again:
            assert promised <= len(again.fresh) <= promised + 2 and again.seeds == SEEDS
            assert again.next >= (promised + 1) // 2
    assert ended >= 9


def killed_and_gone_on_with(path: Path, moments: list[float], wait: Callable[[float], None]) -> None:
    """Kill a campaign at these moments (seconds from when it writes); each time nothing may be missing."""
    target = ("--target", "targets.two_bugs:Host")
    kept: set[str] = set()
    runs = 0
    for number, moment in enumerate([*moments, None]):
        begin = (*target, "--campaign") if not number else ("--resume",)
        command = [sys.executable, "-m", "synctape", "fuzz", *begin, str(path), "--json"]
        command += ["--max-time", "60" if moment is not None else "0.5", "--jobs", str(1 + number % 2)]
        process = subprocess.Popen(
            command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            if moment is not None:
                before = len(tapes(path)) if path.exists() else 0
                deadline = time.monotonic() + 60
                while process.poll() is None and time.monotonic() < deadline:
                    if path.exists() and len(tapes(path)) > before + (3 if not number else 0):
                        break
                    time.sleep(0.005)
                wait(moment)
                process.kill()
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
            process.wait()
        if moment is None:
            assert process.returncode == 1 and not err, err
            summary = json.loads(out.splitlines()[-1])
            assert summary["runs"] > runs and summary["failures"] >= 2
        assert kept <= tapes(path), "what was kept or found is lost"
        kept = tapes(path)
        with opened(path) as store:
            runs = store.progress.runs
            assert {f"findings/{found.name}.tape" for _, found in store.found} <= kept
            assert len(store.fresh) == len([name for name in kept if name.startswith("corpus/")])


@pytest.mark.slow
def test_a_campaign_that_is_killed_again_and_again_loses_nothing(tmp_path: Path) -> None:
    moments = random.Random(7)
    killed_and_gone_on_with(tmp_path / "c", [moments.random() for _ in range(10)], time.sleep)


def wait_until(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not there() and time.monotonic() < deadline:
        time.sleep(0.005)


@pytest.mark.slow
def test_ctrl_c_and_sigterm_leave_a_campaign_that_goes_on(tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("signals of POSIX")
    import signal

    for number, (sent, code) in enumerate([(signal.SIGINT, 130), (signal.SIGTERM, 143)]):
        begin = ["--target", "targets.clean:Host", "--campaign"] if not number else ["--resume"]
        command = [sys.executable, "-m", "synctape", "fuzz", *begin, str(tmp_path / "c"), "--max-time", "60"]
        process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        line = process.stderr.readline() if process.stderr else b""
        assert (b"going on with" if number else b"fuzzing") in line
        if number:  # it has begun when it no longer says how it was stopped
            wait_until(lambda: not json.loads((tmp_path / "c" / "campaign.json").read_text())["stopped"])
        else:
            wait_until(lambda: any((tmp_path / "c" / "corpus").glob("*.tape")))
        process.send_signal(sent)
        assert process.wait(60) == code
        assert process.stderr is not None and b"Traceback" not in process.stderr.read()
        process.stderr.close()
        kept = json.loads((tmp_path / "c" / "campaign.json").read_text())
        assert kept["stopped"] == {130: "interrupted", 143: "terminated"}[code]
        assert kept["progress"]["kept"] <= len(tapes(tmp_path / "c" / "corpus"))
