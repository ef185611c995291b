"""Time and sequences to each planted bug, for synctape and for what one could take instead.

    python benchmarks/bugs.py --tools synctape --seeds 3 --limit 10      a look at how the search does
    python benchmarks/bugs.py --python PYTHON --output bugs.jsonl        everything; goes on where it was stopped
    python benchmarks/bugs.py --hosts '*good_*' --limit 600 --seeds 1    the correct hosts

Tools take turns, seed by seed and host by host, so that a busy machine is as busy for each.  A tool that has
missed a bug twice is not asked for it again.  Each run is a line of JSON in `--output`; the table on stdout is
Markdown: of each tool the median over the seeds of the seconds from the start of its search, and of the sequences.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import math
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.catalogue import Host, hosts
from benchmarks.tools import TOOLS, Result, Setup, applies

_MISSES = 2  # after so many a tool is not asked again

Record = dict[str, Any]
Key = tuple[str, str]  # host and tool
Runs = defaultdict[Key, list[Result]]


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    chosen = _chosen(options.hosts)
    records = _read(options.output) if options.output else []
    if not options.only_table:
        setup = Setup(os.path.abspath(options.python), options.build.absolute(), options.native_build)
        for record in _missing(chosen, options.tools, options.seeds, options.limit, records, setup):
            records.append(record)
            _tell(record)
            if options.output:
                with options.output.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(record) + "\n")
    runs = _by_host_and_tool(records, options.limit)
    print(table(runs, chosen, options.tools))
    print()
    print("\n".join(summary(runs, chosen, options.tools)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", nargs="*", default=[], help="names or patterns  [default: all with a bug]")
    parser.add_argument("--tools", nargs="*", default=list(TOOLS), choices=list(TOOLS))
    parser.add_argument("--seeds", type=int, default=5, help="how many  [default: 5]")
    parser.add_argument("--limit", type=float, default=20.0, help="seconds for each search  [default: 20]")
    parser.add_argument("--output", type=Path, help="a line of JSON for each run; what is there is not run again")
    parser.add_argument("--only-table", action="store_true", help="run nothing, print the table of --output")
    parser.add_argument(
        "--python", default=sys.executable, help="where the peers of benchmarks/requirements.txt are installed"
    )
    parser.add_argument("--native-build", default="", help="of the Makefile's kinds, for synctape: asan, coverage")
    parser.add_argument(
        "--build",
        type=Path,
        default=Path(__file__).parent / "hosts" / "native" / "build",
        help="folder for native hosts",
    )
    return parser


def _chosen(patterns: Sequence[str]) -> list[Host]:
    found = [
        h for h in hosts() if any(fnmatch.fnmatch(h.name, p) for p in patterns) or not (patterns or h.correct)
    ]
    if not found:
        sys.exit(f"no host is called {' or '.join(patterns)}")
    return found


# --- running ----------------------------------------------------------------------------------------------------


def _missing(
    chosen: Sequence[Host],
    tools: Sequence[str],
    seeds: int,
    limit: float,
    records: Sequence[Record],
    setup: Setup,
) -> Iterator[Record]:
    """Runs what is not among the records yet, tools in turn."""
    done = {(record["host"], record["tool"], record["seed"]) for record in records if record["limit"] == limit}
    misses: dict[Key, int] = defaultdict(int)
    for record in records:
        misses[record["host"], record["tool"]] += record["limit"] == limit and not record["found"]
    for seed in range(1, seeds + 1):
        for host in chosen:
            for tool in tools:
                key = host.name, tool
                if (*key, seed) in done or not applies(tool, host):
                    continue
                if misses[key] >= _MISSES and not host.correct:
                    continue
                load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
                started = time.monotonic()
                result = TOOLS[tool](host, seed, limit, setup)
                misses[key] += not result.found
                took = time.monotonic() - started
                yield {
                    "host": host.name,
                    "tool": tool,
                    "seed": seed,
                    "limit": limit,
                    **asdict(result),
                    "process": round(took, 3),
                    "load": round(load, 1),
                }


def _read(path: Path) -> list[Record]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _tell(record: Record) -> None:
    what = f"{record['what']} {record['where']}" if record["found"] else "nothing"
    print(
        f"{record['host']:26} {record['tool']:10} seed {record['seed']}  {record['seconds']:7.2f} s "
        f"{record['executions']:>10,} sequences  {what}",
        file=sys.stderr,
        flush=True,
    )


# --- the table --------------------------------------------------------------------------------------------------


def _by_host_and_tool(records: Sequence[Record], limit: float) -> Runs:
    runs: Runs = defaultdict(list)
    for record in records:
        if record["limit"] == limit:
            result = Result(**{field.name: record[field.name] for field in fields(Result)})
            runs[record["host"], record["tool"]].append(result)
    return runs


def table(runs: Runs, chosen: Sequence[Host], tools: Sequence[str]) -> str:
    """Markdown: a row for each host, a column for each tool that was run."""
    tools = [tool for tool in tools if any(runs[host.name, tool] for host in chosen)]
    lines = [f"| host | depth | {' | '.join(tools)} |", f"| --- | --- |{' --- |' * len(tools)}"]
    for host in chosen:
        cells = [_cell(runs[host.name, tool], host) for tool in tools]
        best = _best([runs[host.name, tool] for tool in tools])
        cells = [f"**{cell}**" if number == best else cell for number, cell in enumerate(cells)]
        lines.append(f"| `{host.name}` | {host.depth or 'correct'} | {' | '.join(cells)} |")
    return "\n".join(lines)


def summary(runs: Runs, chosen: Sequence[Host], tools: Sequence[str]) -> Iterator[str]:
    """What the goals are about: bugs found for every seed, and how the time compares with the best peer's."""
    wrong = [host for host in chosen if not host.correct]
    for tool in tools:
        asked = [results for host in wrong if (results := runs[host.name, tool])]
        always = sum(all(result.found for result in results) for results in asked)
        mostly = sum(median_seconds(results) < math.inf for results in asked)
        if asked:
            yield f"{tool}: of {len(asked)} bugs {always} for every seed, {mostly} in the median"
    ours, *peers = tools
    ratios = []
    for host in wrong:
        best = min((median_seconds(runs[host.name, tool]) for tool in peers), default=math.inf)
        mine = median_seconds(runs[host.name, ours])
        if best < math.inf or mine < math.inf:
            ratios.append((mine / best if mine < math.inf else math.inf) if best < math.inf else 0.0)
    if ours == "synctape" and ratios:
        yield (
            f"{ours}'s time / the best peer's, of the bugs that one of them found in the median: median "
            f"{statistics.median(ratios):.2f}, at most half for {sum(r <= 0.5 for r in ratios)} of {len(ratios)}"
        )


def median_seconds(results: Sequence[Result]) -> float:
    """Infinite where most searches missed, or there was none."""
    return statistics.median(r.seconds if r.found else math.inf for r in results) if results else math.inf


def _cell(results: Sequence[Result], host: Host) -> str:
    if not results:
        return ""
    found = [result for result in results if result.found]
    if host.correct:
        played = sum(result.executions for result in results)
        return f"{len(found)} findings in {played:,}"
    if not found:
        return "-"
    share = "" if len(found) == len(results) else f" ({len(found)} of {len(results)})"
    seconds = median_seconds(results)
    if math.isinf(seconds):
        return f"-{share}"
    executions = statistics.median(r.executions if r.found else math.inf for r in results)
    return f"{seconds:.2f} s, {_short(executions)}{share}"


def _short(number: float) -> str:
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.{1 if number < 10 * size else 0}f} {unit}"
    return f"{number:.0f}"


def _best(columns: Sequence[Sequence[Result]]) -> int:
    seconds = [median_seconds(results) for results in columns]
    fastest = min(seconds, default=math.inf)
    return -1 if math.isinf(fastest) or len(columns) < 2 else seconds.index(fastest)


if __name__ == "__main__":
    main()
