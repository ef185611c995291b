"""docs/trace-format.md and the code say the same: its vectors are read from the page and compared both ways."""

from __future__ import annotations

import ast
import importlib.util
import re
import threading
import zlib
from pathlib import Path
from typing import Any

import msgpack
import pytest

from recorder.callback import RecordingCallback
from recorder.calls import Handle, Header, OutcomeKind, Trace
from recorder.decoding import HEADER_FIELDS
from recorder.encoding import (
    MAX_FIELDS,
    MAX_HEX_DIGITS,
    MAX_INTERNED_UNITS,
    MAX_RECORD,
    MAX_TEXTS,
    MAX_THREADS,
    SHORT_RECORD,
    checked,
    end_record,
)
from recorder.interface import Type
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK
from recorder.text import from_text, to_text
from recorder.trace import dump_trace, load_trace, read_trace
from recorder.writer import TraceWriter

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "trace-format.md").read_text(encoding="utf-8")


def records() -> list[tuple[list[Any], bytes, bytes]]:
    """The records of the page: value, bytes, check."""
    found = []
    for literal, body, check in re.findall(r"^\| `(\[.+\])` \| `([0-9a-f ]+)` `([0-9a-f ]+)` \|$", PAGE, re.M):
        value = ast.literal_eval(re.sub(r"\bnil\b", "None", literal))
        found.append((value, bytes.fromhex(body), bytes.fromhex(check)))
    return found


def block(name: str) -> str:
    (text,) = re.findall(rf"^```{name}\n(.*?)^```$", PAGE, re.M | re.S)
    return str(text)


def whole(name: str) -> bytes:
    return bytes.fromhex("".join(line.partition("#")[0] for line in block(name).splitlines()))


def test_the_page_has_vectors_for_every_kind_of_record() -> None:
    kinds = {value[0] for value, _, _ in records()}
    assert kinds >= {1, 2, 3, 4, 19, 21}
    assert len(records()) > 15


@pytest.mark.parametrize(("value", "body", "check"), records(), ids=[str(value)[:40] for value, _, _ in records()])
def test_records(value: list[Any], body: bytes, check: bytes) -> None:
    assert checked(msgpack.packb(value)) == body + check
    assert msgpack.unpackb(body) == value
    if len(body) <= 30:
        assert check == bytes((0xCC, (1 + sum(body)) % 256))
    else:
        assert check == b"\xce" + zlib.crc32(body).to_bytes(4, "big")


def test_the_whole_file_is_the_text_beside_it() -> None:
    trace = from_text(block("tape"))
    data = whole("hex")
    assert dump_trace(trace) == data
    assert load_trace(data) == trace
    assert to_text(trace).strip() == block("tape").strip()


def test_the_live_file_holds_the_same_calls() -> None:
    assert load_trace(whole("hex live")) == load_trace(whole("hex"))


class Host:
    exec(compile("def End(self, event, result): raise ValueError('no')", "h.py", "exec"))

    def Step(self, text: str, index: int) -> int:
        return 0


def test_a_live_recording_writes_the_live_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = load_trace(whole("hex live"))
    (thread,) = expected.threads
    monkeypatch.setattr(threading, "get_native_id", lambda: thread.native_id)
    monkeypatch.setattr(threading.current_thread(), "name", thread.name)
    clock = iter([tick << 10 for tick in (1000, 1000, 1005, 1007, 1009, 1012, 1020, 1022)])
    writer = TraceWriter(tmp_path / "a.tape", expected.header, clock=lambda: next(clock), sync_event=99)
    callback: Any = RecordingCallback(Host(), interface=expected.interface, writer=writer)
    callback.Step("Inbox", 1)
    with pytest.raises(ValueError, match="no"):
        callback.End(99, -5)
    callback.close()
    assert (tmp_path / "a.tape").read_bytes() == whole("hex live")


def test_the_end_record_is_spelled_as_the_page_says() -> None:
    assert "93 00 CE c c c c C0 CC s" in PAGE
    record = end_record(0x01020304, None)
    assert record[:-1] == bytes.fromhex("93 00 ce 01 02 03 04 c0 cc")
    assert whole("hex")[-10:-7] == bytes.fromhex("93 00 ce")


def test_the_page_names_every_field_type_outcome_and_limit() -> None:
    assert re.findall(r"^\| `(\w+)` \| (?:int|map|bool|int or nil|str or nil)[,|\s]", PAGE, re.M) == [
        "interface",
        *HEADER_FIELDS,
    ]
    assert set(HEADER_FIELDS) | {"interface", "extra"} == set(Header.__dataclass_fields__)
    for kind in Type:
        assert f'"{kind.value}"' in PAGE
    for outcome in OutcomeKind:
        assert outcome is OutcomeKind.RETURNED or f'`"{outcome.value}"`' in PAGE
    for number, text in (
        (MAX_FIELDS, "| elements of a record, of an array or map in it | 4096 |"),
        (MAX_RECORD, "| record | 128 MiB |"),
        (MAX_TEXTS, "| defined texts | 65535, each of up to 1024 UTF-16 units |"),
        (MAX_INTERNED_UNITS, "| defined texts | 65535, each of up to 1024 UTF-16 units |"),
        (MAX_THREADS, "| threads | 65536 |"),
        (MAX_HEX_DIGITS, "`-0x...` of up to 3000 digits"),
        (SHORT_RECORD, "| up to 30 bytes |"),
    ):
        assert text in PAGE
        assert str(number) in text or f"{number >> 20} MiB" in text


# --- samples -------------------------------------------------------------------------------------------------

FORMATS = ROOT / "corpora" / "formats"


def test_there_is_a_sample_of_every_version() -> None:
    assert [path.name for path in sorted(FORMATS.glob("*.tape"))] == ["v1.tape"]


def made() -> Trace:
    spec = importlib.util.spec_from_file_location("make_v1", FORMATS / "make_v1.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    trace: Trace = module.TRACE
    return trace


def test_the_sample_of_version_1_is_read() -> None:
    trace = read_trace(FORMATS / "v1.tape")
    assert trace == made()
    assert trace.damage is None
    assert trace.interface == IMAPI_SYNC_PROGRESS_CALLBACK
    assert trace.calls[-1].args[0] == Handle(0)
    kinds = {played.outcome.kind for played in trace.played if played.outcome}
    assert kinds == set(OutcomeKind)


def test_the_sample_of_version_1_is_written_so_today() -> None:
    assert dump_trace(made()) == (FORMATS / "v1.tape").read_bytes()
