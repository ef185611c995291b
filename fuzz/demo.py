"""`synctape demo`: the whole way on real input, in a folder of its own.

Mail in one folder is really synchronised into another while the calls are recorded; the trace is checked and
replayed on a host with a bug that it does not trigger; fuzzing finds the bug; the minimal sequence is kept as a
regression, fails on the buggy host and passes on the correct one.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from fuzz.buckets import sequence_lines
from fuzz.campaign import Campaign, CampaignOptions
from recorder.callback import recording
from recorder.contract import lint
from recorder.provenance import captured
from recorder.report_files import shown
from recorder.samples import mail_folders
from recorder.text import call_text
from recorder.trace import read_trace
from recorder.writer import live_header
from replayer.isolation import open_player
from replayer.samples.send_receive import HastySendReceiveDialog
from replayer.verdict import Status, Verdict, replay_file

__all__ = ["BUGGY", "CORRECT", "run_demo"]

BUGGY = "replayer.samples.send_receive:HastySendReceiveDialog"
CORRECT = "replayer.samples.send_receive:SendReceiveDialog"
_SCENARIOS = ("succeeds", "unreadable_folder", "fails_half_way")
_SECONDS = 10.0


def run_demo(folder: Path | None, seed: int) -> int:
    """Go the whole way; gives 0 if each step showed what it is there to show, else 3."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="synctape-demo-", ignore_cleanup_errors=True) as temporary:
            return _Demo(Path(temporary), seed).run()
    folder.mkdir(parents=True, exist_ok=True)
    return _Demo(folder, seed).run()


class _Demo:
    def __init__(self, folder: Path, seed: int):
        self.folder = folder
        self.seed = seed
        self.traces: list[Path] = []

    def run(self) -> int:
        for step in (self._record, self._check, self._replay, self._fuzz, self._regression):
            if not step():
                click.secho("This step did not show what it is there to show.", fg="red", err=True)
                return 3
        self._next_steps()
        return 0

    def _title(self, number: int, text: str) -> None:
        click.secho(f"\n{number}. {text}", bold=True)

    def _record(self) -> bool:
        self._title(1, "Record: a provider synchronises mail folders, a recording callback stands in between")
        for name in _SCENARIOS:
            path = self.folder / f"{name}.tape"
            provider = f"{mail_folders.__name__}:{name}"
            header = live_header(provenance=captured(provider=provider, scenario=name))
            with recording(HastySendReceiveDialog(), path, header=header) as callback:
                getattr(mail_folders, name)(callback)
            trace = read_trace(path)
            self.traces.append(path)
            if trace.damage or not trace.calls:
                return False
            last = call_text(trace.calls[-1], trace.interface)
            click.echo(f"   {path.name:24s} {len(trace.calls):4d} calls, the last one {last}")
        return True

    def _check(self) -> bool:
        self._title(2, "Check: does the provider keep to the contract?")
        broken = [v.rule.id for path in self.traces for v in lint(read_trace(path))]
        click.echo(f"   rules broken: {', '.join(sorted(set(broken))) or 'none'}")
        return not broken

    def _replay(self) -> bool:
        self._title(3, f"Replay the traces on the host {BUGGY.partition(':')[2]}")
        verdicts = [self._verdict(path, BUGGY) for path in self.traces]
        return all(v.status is Status.PASSED for v in verdicts)

    def _verdict(self, path: Path, spec: str) -> Verdict:
        with open_player(spec) as player:
            verdict = replay_file(path, player)
        codes = ", ".join(f"{f.code} {shown(f.message)}" for f in verdict.findings)
        click.echo(f"   {verdict.status.name:7s} {path.name}{'  ' + codes if codes else ''}")
        return verdict

    def _fuzz(self) -> bool:
        self._title(4, "Fuzz: mutate the traces, play them on the host, until something breaks")
        seeds = [(path.name, read_trace(path)) for path in self.traces]
        options = CampaignOptions(seed=self.seed, max_time=_SECONDS, exit_first=True)
        campaign = Campaign(BUGGY, seeds, options, folder=self.folder / "findings")
        summary = campaign.run()
        progress = summary.progress
        click.echo(
            f"   {progress.runs} sequences, {progress.calls} calls in {progress.seconds:.1f} s (seed {self.seed})"
        )
        if not summary.found:
            return False
        found = summary.found[0]
        self.regression = summary.files[found.name]
        finding = found.finding
        click.echo(f"   {finding.code} in {finding.method} at {finding.place}: {shown(finding.message)}")
        click.echo(f"   blame: {finding.blame}")
        click.echo(f"   minimised from {len(found.original)} calls to {len(found.calls)}:\n")
        for line in sequence_lines(found.calls, campaign.interface, finding.number):
            click.echo(f"   {line}")
        return True

    def _regression(self) -> bool:
        self._title(5, "Keep it: the minimal trace is a regression test")
        buggy = self._verdict(self.regression, BUGGY)
        click.echo("   and on the correct host, SendReceiveDialog:")
        correct = self._verdict(self.regression, CORRECT)
        return buggy.status is Status.FAILED and correct.status is Status.FIXED

    def _next_steps(self) -> None:
        click.secho("\nFor a target of your own:", bold=True)
        click.echo("   synctape record your.module:provider -o run.tape --forward your.module:Host")
        click.echo("   synctape fuzz --target your.module:Host --corpus run.tape --max-time 60")
        click.echo("   pytest --synctape-target your.module:Host findings/")
