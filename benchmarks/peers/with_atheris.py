"""Atheris:  python with_atheris.py HOST SEED LIMIT REPORT [libFuzzer's flags]

The host is instrumented; a sequence is read from the bytes by a FuzzedDataProvider, a call at a time.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import atheris
from model import CALLS, CODES, MOST_STEPS, NUMBERS, TEXTS, Search

_, HOST, SEED, LIMIT, REPORT, *FLAGS = sys.argv
with atheris.instrument_imports(include=[Path(HOST).stem]):
    search = Search(HOST, float(LIMIT), REPORT)

_TEXTS, _NUMBERS, _CODES, _HANDLES = list(TEXTS), list(NUMBERS), list(CODES), [None, 1, 2]


def text(data: Any) -> Any:
    kind = data.ConsumeIntInRange(0, 7)
    if kind == 0:
        return None
    if kind < 4:
        return data.PickValueInList(_TEXTS)
    return data.ConsumeUnicode(data.ConsumeIntInRange(0, 300 if kind == 7 else 20))


def number(data: Any) -> Any:
    kind = data.ConsumeIntInRange(0, 3)
    if kind < 2:
        return data.ConsumeIntInRange(0, 10)
    return data.PickValueInList(_NUMBERS) if kind == 2 else data.ConsumeIntInRange(0, 2**32 - 1)


def code(data: Any) -> Any:
    return data.PickValueInList(_CODES) if data.ConsumeBool() else data.ConsumeIntInRange(-(2**31), 2**31 - 1)


def play(raw: bytes) -> None:
    data = atheris.FuzzedDataProvider(raw)
    search.begin()
    while search.made < CALLS if CALLS else data.remaining_bytes():
        method = data.ConsumeIntInRange(0, 6 if CALLS else 7)
        if method < 4:
            search.progress(text(data), number(data), number(data))
        elif method < 6:
            search.error(code(data), text(data))
        elif method == 6:
            search.done(data.PickValueInList(_HANDLES), code(data))
        else:
            search.step(text(data), data.ConsumeIntInRange(1, 20 if data.ConsumeBool() else MOST_STEPS))


atheris.Setup([sys.argv[0], f"-seed={SEED}", "-max_len=2048", "-timeout=5", *FLAGS], play)
atheris.Fuzz()
