"""Processes that record and are killed, and what must then be in the file: recorders in Python and in C alike."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from recorder.calls import Enter, Trace
from recorder.trace import read_trace

__all__ = ["kill_in_the_middle"]


def kill_in_the_middle(
    command: Sequence[str | Path], path: Path, seed: int, read: Callable[[Path], Trace] = read_trace
) -> None:
    """A child reports each event whose write has returned, and is killed; every one must be in the file.

    The child is `command` with a number of threads.  Thread n makes the calls Progress("message %d", index, n),
    where %d is index % 5000; they answer index & 1.  It writes a line "n count" after each of its events.
    """
    rng = random.Random(seed)
    threads = rng.choice([1, 1, 1, 4])
    child = subprocess.Popen([*command, str(threads)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    with child, child.stdout as pipe:
        wanted = rng.choice([1, rng.randrange(1, 100), rng.randrange(1, 20_000)])
        data = b""
        while data.count(b"\n") < wanted:
            data += os.read(pipe.fileno(), rng.choice([1, 100, 1 << 16]))
        child.kill()
        data += pipe.read()
    reported = [0] * threads
    for line in data.splitlines()[: data.count(b"\n")]:
        number, count = map(int, line.split())
        assert count == reported[number] + 1
        reported[number] = count
    trace = read(path)
    assert trace.damage is not None
    torn = "damaged record (not written to its end)"  # a record across two pages, of which one was reached
    assert trace.damage.reason.endswith(("ends without an end record", torn))
    events: list[list[object]] = [[] for _ in range(threads)]
    calls: dict[int, tuple[Any, Any]] = {}
    for event in trace.events:
        if isinstance(event, Enter):
            text, index, thread = event.call.args
            calls[event.number] = (index, thread)
            events[calls[event.number][1]].append(("enter", index))
            assert text == f"message {calls[event.number][0] % 5000}"
        else:
            index, thread = calls[event.number]
            assert event.outcome.value == index & 1
            events[thread].append(("leave", index))
    for number, own in enumerate(events):
        assert own == [("leave" if i % 2 else "enter", i // 2) for i in range(len(own))]
        assert len(own) >= reported[number]
