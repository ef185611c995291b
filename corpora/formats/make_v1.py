"""Makes v1.tape, the sample of trace format 1: `python corpora/formats/make_v1.py`.

The file stays as it is for as long as format 1 is read; tests compare it with this.
"""

from __future__ import annotations

from pathlib import Path

from recorder.calls import (
    SYNC_EVENT,
    Call,
    Enter,
    Handle,
    Header,
    Leave,
    Opaque,
    Outcome,
    OutcomeKind,
    Thread,
    Trace,
)
from recorder.trace import write_trace

TICK = 1024
E_FAIL = -2147467259

TRACE = Trace(
    Header(
        created_ns=1_700_000_000_000_000_000,
        tick_ns=TICK,
        pointer_size=8,
        sync_flags=0x82,
        redaction=None,
        process={"pid": 4711, "system": "linux", "tty": [], "encodings": {"stdout": "utf-8"}},
        target={"spec": "hosts:Dialog"},
        provenance={"from": "corpora/formats/make_v1.py", "note": "Entwürfe"},
        extra={"later": {"number": 1, "bytes": b"\x00\xff"}},
    ),
    (
        Enter(0, Call("QueryInterface", ("{5024a386-2d44-486a-81a8-8f0ecb6071dd}",), 0, 0)),
        Leave(0, Outcome(value=0, elapsed_ns=3 * TICK, outputs=(Handle(1),))),
        Enter(1, Call("Progress", ("Connecting", 0, 0), 0, 10 * TICK)),
        Leave(1, Outcome(elapsed_ns=2 * TICK)),
        Enter(2, Call("Progress", (None, 1, 2000), 0, 700 * TICK)),
        Enter(3, Call("Progress", ("Entwürfe \U0001f4e7", 4294967295, 4294967295), 1, 90_000 * TICK)),
        Leave(2, Outcome(value=None, elapsed_ns=100_000 * TICK)),
        Enter(4, Call("Error", (E_FAIL, "lone \ud800 surrogate"), 1, 90_005 * TICK)),
        Leave(3, Outcome(value=E_FAIL, elapsed_ns=9 * TICK)),
        Leave(4, Outcome(OutcomeKind.RAISED, None, 7 * TICK, "ValueError: no", "hosts.py:12 in Error")),
        Enter(5, Call("Progress", ("x" * 1100, True, 1.5, Opaque("list", "[]"), 1 << 70), 0, 100_000 * TICK)),
        Leave(5, Outcome(OutcomeKind.CRASHED, None, TICK, "SIGSEGV")),
        Enter(6, Call("Error", (0, None), 0, 100_100 * TICK)),
        Leave(6, Outcome(OutcomeKind.HUNG, None, 5_000_000 * TICK, "no answer")),
        Enter(7, Call("Done", (Handle(2), 0), 0, 100_200 * TICK)),
        Leave(7, Outcome(OutcomeKind.NOT_RUN, None)),
        Enter(8, Call("Release", (), 0, 100_300 * TICK)),
        Leave(8, Outcome(value=2)),
        Enter(9, Call("Done", (SYNC_EVENT, 0), 1, 100_400 * TICK)),
    ),
    (Thread(4711, "MainThread"), Thread(4712, "sync")),
)

if __name__ == "__main__":
    write_trace(TRACE, Path(__file__).with_name("v1.tape"), overwrite=True)
