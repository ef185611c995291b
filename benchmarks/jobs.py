"""What several searching processes bring: executions a second with so many jobs, against one, as ratios.

    python benchmarks/jobs.py [jobs ...]        default: 1, 2, 4, ... up to the cores of this machine

Campaigns on the same hosts, of the same length, take turns; each figure is the median of the rounds' ratios.  They
are of the wall's clock, so the machine has to be quiet.  The parent's share of all processor time bounds what more
jobs can bring: at a tenth no more than ten keep it busy.  It is measured where children's times are told (POSIX).
"""

from __future__ import annotations

import os
import statistics
import sys
from typing import NamedTuple

from corpora import folder
from fuzz.campaign import Campaign
from fuzz.pool import cores
from fuzz.progress import CampaignOptions
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK
from recorder.trace import read_trace

ROUNDS, SECONDS = 5, 4.0
HOSTS = ("replayer.samples.send_receive:SendReceiveDialog",)


class Measured(NamedTuple):
    rate: float  # sequences a second
    parent: float  # share of the processor time


def campaign(spec: str, jobs: int, seed: int) -> Measured:
    paths = sorted(folder(IMAPI_SYNC_PROGRESS_CALLBACK.name).rglob("*.tape"))
    options = CampaignOptions(seed=seed, max_time=SECONDS, jobs=jobs)
    before = os.times()
    progress = Campaign(spec, [(path.name, read_trace(path)) for path in paths], options).run().progress
    after = os.times()
    own = after.user + after.system - before.user - before.system
    children = after.children_user + after.children_system - before.children_user - before.children_system
    return Measured(progress.runs / progress.seconds, own / (own + children) if children else 0.0)


def main(wanted: list[int]) -> None:
    for spec in HOSTS:
        rates: dict[int, list[float]] = {jobs: [] for jobs in wanted}
        parents: dict[int, list[float]] = {jobs: [] for jobs in wanted}
        for number in range(ROUNDS):
            reference = campaign(spec, 1, number).rate
            for jobs in wanted:
                measured = campaign(spec, jobs, number)
                rates[jobs].append(measured.rate / reference)
                parents[jobs].append(measured.parent)
        print(f"{spec}, {cores()} cores")
        for jobs in wanted:
            rate, parent = statistics.median(rates[jobs]), statistics.median(parents[jobs])
            print(f"{jobs:4d} jobs: {rate:6.2f} times the executions of one; the parent's share {parent:6.3f}")


def _doubling() -> list[int]:
    return [1 << power for power in range(cores().bit_length())]


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or _doubling())
