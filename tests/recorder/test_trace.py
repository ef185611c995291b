"""Trace files: what is written is read back, and nothing that is read is believed."""

from __future__ import annotations

import io
import itertools
import os
import random
import stat
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
from any_trace import OTHER, SYNC, TICK, traces
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from recorder.calls import (
    NOT_RUN,
    Call,
    Enter,
    Event,
    Handle,
    Header,
    Leave,
    Opaque,
    Outcome,
    OutcomeKind,
    Thread,
    Trace,
    TraceDamage,
)
from recorder.encoding import Encoder, checked, end_record
from recorder.errors import TraceError
from recorder.trace import TraceReader, describe_header, dump_trace, load_trace, read_trace, write_trace

# --- any trace at all ----------------------------------------------------------------------------------------


@given(traces())
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_every_trace_comes_back(trace: Trace) -> None:
    loaded = load_trace(dump_trace(trace))
    assert repr(loaded.events) == repr(trace.events)  # repr tells True from 1, and NaN is like NaN
    assert loaded.threads == trace.threads
    assert loaded.header == trace.header
    assert loaded.damage is None


@given(traces())
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
def test_every_trace_comes_back_from_a_file(tmp_path: Path, trace: Trace) -> None:
    path = write_trace(trace, tmp_path / "a.tape", overwrite=True)
    assert repr(read_trace(path)) == repr(load_trace(dump_trace(trace)))


def test_a_surrogate_pair_is_the_character_that_it_encodes() -> None:
    trace = Trace.from_calls([Call("Progress", ("\ud83d\ude00", 1, 2))])
    assert load_trace(dump_trace(trace)).calls[0].args == ("\U0001f600", 1, 2)


def test_times_are_cut_to_ticks() -> None:
    trace = Trace.from_calls([Call("Done", (None, 0), time_ns=5000)], outcomes=[Outcome(elapsed_ns=1023)])
    loaded = load_trace(dump_trace(trace))
    assert loaded.calls[0].time_ns == 4 * TICK
    assert loaded.played[0].outcome == Outcome(elapsed_ns=0)


@pytest.mark.parametrize("step", [1, 100, 10**9])
def test_the_header_says_what_a_tick_is(step: int) -> None:
    header = Header(tick_ns=step)
    trace = Trace.from_calls([Call("Done", (None, 0), time_ns=7 * step)], header)
    assert load_trace(dump_trace(trace)).calls[0].time_ns == 7 * step


def test_every_field_of_a_header_comes_back() -> None:
    header = Header(
        OTHER,
        created_ns=1_700_000_000_000_000_000,
        tick_ns=100,
        pointer_size=4,
        sync_flags=0x82,
        redaction="texts",
        process={"pid": 1, "tty": ["stdin"], "encodings": {"stdout": None}},
        target={"spec": "m:f"},
        provenance={"from": b"\0\xff", "share": 0.5},
        extra={"later": [1, "x", None, {"deep": True}]},
    )
    assert load_trace(dump_trace(Trace(header))).header == header


def test_text_in_a_header_that_utf_8_cannot_hold_is_escaped() -> None:
    trace = Trace(Header(provenance={"path": "a\udc80", "5": 2**70}))
    assert load_trace(dump_trace(trace)).header.provenance == {"path": "a\\udc80", "5": str(2**70)}


@pytest.mark.parametrize("facts", [{"many": [0] * 5000}, {str(n): n for n in range(5000)}, {"deep": None}])
def test_a_header_that_no_reader_would_take_is_an_error(facts: dict[str, Any]) -> None:
    if "deep" in facts:
        deep: list[Any] = []
        for _ in range(600):
            deep = [deep]
        facts = {"deep": deep}
    with pytest.raises(TraceError, match="header: "):
        dump_trace(Trace(Header(provenance=facts)))


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ((Leave(0, Outcome()),), "call 0: it ends but is not open"),
        ((Enter(3, Call("Done", (None, 2), -1)),), "call 3: a negative thread"),
        ((Enter(3, Call("Done", (None, 2), 1 << 16)),), "threads: over 65536 threads are more than a trace holds"),
        ((Enter(3, Call("Done", (Handle(2**64), 0))),), "call 3: .*"),
        ((Enter(3, Call("Done", (None, 0) * 3000)),), "call 3: a record of 6003 fields"),
    ],
)
def test_what_no_trace_can_hold_is_an_error(events: tuple[Event, ...], message: str) -> None:
    with pytest.raises(TraceError, match=message):
        dump_trace(Trace(events=events))


# --- files ---------------------------------------------------------------------------------------------------

ONE = Trace.from_calls([Call("Progress", ("Inbox", 1, 2)), Call("Done", (None, 0))])


def test_an_existing_file_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.tape"
    path.write_bytes(b"mine")
    with pytest.raises(TraceError, match=r"a\.tape: exists already; it is left as it is"):
        write_trace(ONE, path)
    assert path.read_bytes() == b"mine"
    assert os.listdir(tmp_path) == ["a.tape"]
    write_trace(ONE, path, overwrite=True)
    assert read_trace(path).calls == ONE.calls


def test_of_several_writers_of_one_file_one_wins(tmp_path: Path) -> None:
    results: list[str] = []
    barrier = threading.Barrier(8)

    def write() -> None:
        barrier.wait()
        try:
            write_trace(ONE, tmp_path / "a.tape")
            results.append("written")
        except TraceError as error:
            results.append(str(error))

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results.count("written") == 1
    assert all("exists already" in result for result in results if result != "written")
    assert os.listdir(tmp_path) == ["a.tape"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_a_file_has_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").write_bytes(b"")
    path = write_trace(ONE, tmp_path / "a.tape")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode)


def test_a_path_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"a\.tape: cannot be written: \w+"):
        write_trace(ONE, tmp_path / "missing" / "a.tape")
    (tmp_path / "folder").mkdir()
    with pytest.raises(TraceError, match="folder: "):
        write_trace(ONE, tmp_path / "folder", overwrite=True)
    assert os.listdir(tmp_path) == ["folder"]


def test_a_reader_goes_through_a_file_once(tmp_path: Path) -> None:
    path = write_trace(ONE, tmp_path / "a.tape")
    with TraceReader(path) as reader:
        assert [played.call for played in reader.calls()] == list(ONE.calls)
        assert list(reader.events()) == []
        assert reader.damage is None


def test_a_reader_that_is_closed_says_so(tmp_path: Path) -> None:
    reader = TraceReader(write_trace(Trace.from_calls([ONE.calls[0]] * 30_000), tmp_path / "a.tape"))
    events = reader.events()
    next(events)
    reader.close()
    assert 0 < len(list(events)) < 60_000
    assert reader.damage is not None
    assert reader.damage.reason == "cannot be read further (the file was closed)"


class Pipe(io.RawIOBase):
    """A stream that gives a few bytes at a time and cannot seek."""

    def __init__(self, data: bytes, step: int):
        self._data, self._step = data, step

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        part, self._data = self._data[: self._step], self._data[self._step :]
        return part


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
def test_a_stream_that_cannot_seek_is_read_as_it_comes(step: int) -> None:
    data = dump_trace(ONE)
    with TraceReader(Pipe(data, step)) as reader:  # type: ignore[arg-type]
        assert tuple(reader.events()) == load_trace(data).events
        assert reader.damage is None


def test_a_stream_is_read_from_where_it_stands() -> None:
    file = io.BytesIO(b"before" + dump_trace(LONG))
    file.seek(6)
    with TraceReader(file) as reader:
        assert sum(1 for _ in reader.events()) == len(LONG.events)
        assert reader.damage is None


# --- what is no trace ----------------------------------------------------------------------------------------


def header_of(version: object = 1, fields: object = None) -> bytes:
    described: dict[str, object] = {"interface": SYNC.describe(), "created_ns": 5}
    return checked(msgpack.packb(["synctape", version, described if fields is None else fields]))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty or ends inside its header; not a trace"),
        (bytes(5000), "is empty or ends inside its header; not a trace"),
        (b'{"calls": []}', r"is not a synctape trace \(it looks like JSON\)"),
        (b"\xef\xbb\xbf<xml/>", "is not a synctape trace"),
        (b"\x93\xa9other-one\x01\x80\xcc\x01", "is not a synctape trace"),
        (b"\xc1" * 100, "is not a synctape trace"),
        (b"\x93", "is empty or ends inside its header; not a trace"),
        (header_of()[:100], "is empty or ends inside its header; not a trace"),
        (header_of()[:-1] + b"\xff", r"has a header that does not read: check does not match"),
        (header_of(2), "format 2, this synctape reads up to 1; upgrade synctape"),
        (header_of(9)[:-5] + b"another way to check", "format 9, this synctape reads up to 1; upgrade synctape"),
        (header_of(0), "has a header that does not read: version 0"),
        (header_of("1"), "has a header that does not read: version '1'"),
        (header_of(1, {}), "has a header that does not read: 'interface'"),
        (header_of(1, 7), "has a header that does not read: .*"),
        (header_of(1, {"interface": {}}), "has a header that does not read: interface description: KeyError.*"),
        (header_of(1, {"interface": SYNC.describe(), "tick_ns": 0}), ".*: tick_ns is out of range"),
        (header_of(1, {"interface": SYNC.describe(), "created_ns": "now"}), ".*: created_ns is a str"),
        (header_of(1, {"interface": SYNC.describe(), 5: 5}), ".*: a field's name is no text"),
    ],
)
def test_what_is_no_trace_is_refused_in_one_line(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a.tape"
    path.write_bytes(data)
    with pytest.raises(TraceError, match=rf"^\S+a\.tape: {message}$") as caught:
        read_trace(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(TraceError, match=f"^trace: {message}$"):
        load_trace(data)


def test_a_missing_file_and_a_folder_are_no_traces(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"a\.tape: cannot be read: No such file or directory"):
        read_trace(tmp_path / "a.tape")
    with pytest.raises(TraceError, match="cannot be read: "):
        read_trace(tmp_path)


def with_records(*records: object, end: bool = True) -> bytes:
    """A file with these records between header and end."""
    data = header_of() + b"".join(checked(msgpack.packb(record)) for record in records)
    return data + end_record(zlib.crc32(data), None) if end else data


THREAD = [2, 0, 0, 7, "main"]
ENTER = [19, 5, 0, "Inbox", 1, 2]


def test_records_and_fields_of_later_versions_are_skipped() -> None:
    fields = {"interface": SYNC.describe(), "colour": ["red"], "created_ns": 5}
    data = checked(msgpack.packb(["synctape", 1, fields, "more"]))
    for record in (
        [2, 0, 0, 7, "main", "more"],
        [6, "a new kind", {"x": [1, 2]}],
        [1, 1, "Inbox", "more"],
        [15],
        [19, 5, 0, 1, 1, 2],
        [14, b"x" * 100],
        [3, 1, 0, 0, 0, [], "more"],
    ):
        data += checked(msgpack.packb(record))
    trace = load_trace(data + end_record(zlib.crc32(data), None))
    assert trace.header.extra == {"colour": ["red"]}
    assert trace.events == (
        Enter(0, Call("Progress", ("Inbox", 1, 2), 0, 5 * TICK)),
        Leave(0, Outcome(elapsed_ns=TICK)),
    )
    assert trace.damage is None


@pytest.mark.parametrize(
    "record",
    [
        5,
        "text",
        {},
        [],
        ["ENTER"],
        [-1],
        [None],
        [1, 0, "NULL cannot be defined"],
        [1, 65536, "over the table"],
        [1, 1, 5],
        [1, 1, "x" * 1025],
        [1, 1, b"odd"],
        [2, 0, 0, 7, "again"],
        [2, 1 << 16, 0, 7, "over the table"],
        [2, -1, 0, 7, "x"],
        [2, 1, "0", 7, "x"],
        [2, 1, 0, 7],
        [16 + 6, 5, 0],
        [19],
        [19, 5],
        [19, "5", 0, 0, 1, 2],
        [19, 5, 1, 0, 1, 2],
        [19, 5, None, 0, 1, 2],
        [19, 5, 0, 7, 1, 2],
        [19, 5, 0, 0, 1, "2"],
        [19, 5, 0, 0, 1, 2.0],
        [19, 5, 0, 0, 1, True],
        [19, 5, 0, 0, 1, {"v": []}],
        [19, 5, 0, 0, 1, {"z": 5}],
        [19, 5, 0, 0, 1, {"v": 1, "t": 1}],
        [19, 5, 0, 0, 1, {"t": 0}],
        [19, 5, 0, 0, 1, {"o": 5}],
        [19, 5, 0, 0, 1, {"i": "0x" + "f" * 3002}],
        [19, 5, 0, 0, 1, {}],
        [19, 5, 0, 0, [1], 2],
        [19, 5, 0, {"t": 1}, 1, 2],
        [21, 5, 0, "handle", 1],
        [3, 5, 0, 0, 1],
        [3, 5, 0, 0, -1],
        [3, 5, 1],
        [3, 5, 0, "x"],
        [3, 5, 0, 0, 0, 5],
        [3, "x", 0],
        [4, 5, 0, "returned", "", "", 0],
        [4, 5, 0, "vanished", "", "", 0],
        [4, 5, 0, "raised", "", 0, 0],
        [4, 5, 0, "raised", "", ""],
        [0, "crc", None],
        [0],
    ],
)
def test_a_record_that_no_writer_writes_ends_the_reading(record: object) -> None:
    before = [THREAD, ENTER]
    trace = load_trace(with_records(*before, record, [3, 1, 0]))
    assert trace.events == (Enter(0, Call("Progress", ("Inbox", 1, 2), 0, 5 * TICK)),)
    assert trace.damage is not None
    assert trace.damage.offset == len(with_records(*before, end=False))
    assert trace.damage.events == 1


def test_the_end_record_covers_every_byte() -> None:
    data = with_records(THREAD, ENTER, end=False)
    trace = load_trace(data + end_record(zlib.crc32(data) ^ 1, None))
    assert trace.damage == TraceDamage(len(data), "checksum of the whole file does not match", 1)
    assert load_trace(data + end_record(zlib.crc32(data), "disk full")).damage == TraceDamage(
        len(data), "recording stopped: disk full", 1
    )
    whole = data + end_record(zlib.crc32(data), None)
    assert load_trace(whole + bytes(1000)).damage is None
    assert load_trace(whole + bytes(300_000) + b"\1").damage == TraceDamage(
        len(data), "data after the end record", 1
    )


# --- damage --------------------------------------------------------------------------------------------------


def sample() -> Trace:
    """Every kind of record and of argument, short and long."""
    threads = (Thread(4711, "main"), Thread(4712, "wörker"), Thread(4713, "\ud800"))
    returned, raised = OutcomeKind.RETURNED, OutcomeKind.RAISED
    events = (
        Enter(0, Call("Progress", ("Downloading message 1 of 2000 in Inbox", 1, 2000), 0, 0)),
        Enter(1, Call("Progress", (None, 70000, 2**32 - 1), 1, 5 * TICK)),
        Enter(2, Call("Error", (-2147467259, "\ud800 lone"), 0, 6 * TICK)),
        Leave(0, Outcome(returned, None, 3 * TICK)),
        Leave(2, Outcome(raised, None, 900 * TICK, "ValueError: no", "host.py:12 in Error")),
        Leave(1, Outcome(returned, -2147467259, 70000 * TICK, outputs=(1, "x", None))),
        Enter(3, Call("Done", (Handle(3), 0), 2, 99 * TICK)),
        Enter(4, Call("Progress", (Opaque("list", "[]"), True, 1.5, b"\0"), 1, 100 * TICK)),
        Leave(4, Outcome(elapsed_ns=TICK)),
        Enter(5, Call("Progress", ("y" * 2000, 1 << 70, Handle(-1)), 1, 101 * TICK)),
    )
    return Trace(Header(created_ns=5, process={"pid": 1}), events, threads)


SAMPLE = dump_trace(sample())
SAMPLE_EVENTS = load_trace(SAMPLE).events
LONG = Trace.from_calls(
    [Call("Progress", (f"Downloading {i % 50}", i, 20_000), time_ns=i * TICK) for i in range(20_000)],
    outcomes=[Outcome()] * 20_000,
)


def offsets(data: bytes) -> list[int]:
    """Where each record of a file begins, and where the last one ends."""
    unpacker = msgpack.Unpacker(io.BytesIO(data))
    places = [0]
    for _ in unpacker:
        unpacker.skip()
        places.append(unpacker.tell())
    return places


def test_a_file_cut_anywhere_gives_what_is_before() -> None:
    starts = offsets(SAMPLE)
    for size in range(starts[1], len(SAMPLE)):
        for data in (SAMPLE[:size], SAMPLE[:size] + bytes(100)):
            trace = load_trace(data)
            assert trace.events == SAMPLE_EVENTS[: len(trace.events)]
            assert trace.damage is not None
            assert trace.damage.events == len(trace.events)
            assert trace.damage.offset == max(start for start in starts if start <= size)
            assert "match" not in trace.damage.reason  # also where a part of a check is there: nothing is wrong


@pytest.mark.slow
def test_any_changed_byte_is_found_and_what_is_before_is_given() -> None:
    starts = offsets(SAMPLE)
    counts = [len(load_trace(SAMPLE[:start]).events) for start in starts[1:]]
    rng = random.Random(1)
    for position in range(starts[1], len(SAMPLE)):
        record = max(i for i, start in enumerate(starts) if start <= position)
        for value in {0, 255, SAMPLE[position] ^ 1, SAMPLE[position] ^ 128, rng.randrange(256)} - {
            SAMPLE[position]
        }:
            trace = load_trace(SAMPLE[:position] + bytes((value,)) + SAMPLE[position + 1 :])
            assert trace.damage is not None, (position, value)
            assert trace.damage.offset == starts[record]
            assert trace.events == SAMPLE_EVENTS[: counts[record - 1]]


@pytest.mark.parametrize("kind", ["prefix", "suffix", "hole"])
def test_a_record_torn_in_mid_copy_is_no_record(kind: str) -> None:
    """In a zero-filled file: the first or the last bytes of a record are there, or, of a long one, both."""
    starts = offsets(SAMPLE)
    rng = random.Random(1)
    for start, end in itertools.pairwise(starts[1:]):
        before = load_trace(SAMPLE[:start]).events
        record = SAMPLE[start:end]
        if kind == "prefix":
            torn = [record[:cut] + bytes(len(record) - cut) for cut in range(len(record))]
        elif kind == "suffix":
            torn = [bytes(cut) + record[cut:] for cut in range(1, len(record))]
        elif len(record) > 32:
            holes = [sorted(rng.sample(range(1, len(record) + 1), 2)) for _ in range(100)]
            torn = [record[:a] + bytes(b - a) + record[b:] for a, b in holes]
        else:
            torn = []
        for bad in torn:
            if bad == record:  # the zeros were there before
                continue
            for rest in (b"", SAMPLE[end:]):
                trace = load_trace(SAMPLE[:start] + bad + rest + bytes(100))
                assert trace.events == before
                assert trace.damage is not None
                assert trace.damage.offset == start


def test_damage_deep_in_a_long_file_is_found() -> None:
    data = bytearray(dump_trace(LONG))
    starts = offsets(bytes(data))
    data[starts[30_000] + 3] ^= 1
    trace = load_trace(bytes(data))
    assert trace.events == LONG.events[: len(trace.events)]
    assert trace.damage is not None
    assert trace.damage.offset == starts[30_000]
    assert trace.damage.events == len(trace.events) > 29_000


@pytest.mark.slow
@pytest.mark.parametrize("bad", [[19, 5, 0, 0, 1, "2"], [19, 5, 0, "x" * 500_000, 1, 2], ["x" * 200_000], "check"])
def test_a_checksum_does_not_make_a_bad_record_good(bad: Any) -> None:
    """A long file whose checksum holds is read in bulk; what does not read so is looked at closely."""
    whole = dump_trace(LONG)
    starts = offsets(whole)
    record = b"\x93\x03\0\0\xcc\0" if bad == "check" else checked(msgpack.packb(bad))
    for place in (6000, 30_000):
        data = whole[: starts[place]] + record + whole[starts[place] : starts[-2]]
        data += end_record(zlib.crc32(data), None)
        trace = load_trace(data)
        assert trace.events[: place // 3] == LONG.events[: place // 3]
        if isinstance(bad, list) and bad[0] == 19 and len(bad[3] if isinstance(bad[3], str) else "") > 1:
            assert trace.damage is None
            assert len(trace.events) == len(LONG.events) + 1
        elif bad != "check":
            assert trace.damage is not None
            assert trace.damage.offset == starts[place]


def test_an_end_record_in_the_middle_is_not_the_end_of_the_file() -> None:
    whole = dump_trace(LONG)
    starts = offsets(whole)
    data = whole[: starts[30_000]]
    data += end_record(zlib.crc32(data), None)
    data += whole[starts[30_000] : starts[-2]]
    data += end_record(zlib.crc32(data), None)
    damage = load_trace(data).damage
    assert damage is not None
    assert damage.reason in ("data after the end record", "checksum of the whole file does not match")


# --- any bytes at all ----------------------------------------------------------------------------------------


def hostile(rng: random.Random) -> bytes:
    """msgpack that claims much."""
    head = rng.choice(
        [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\x7f\xff\xff\xff", b"\xc6\xff\xff\xff\xff"]
    )
    opening = rng.choice([b"\x91", b"\x81\xa1x", b"\xdc\x00\x01", b"\x9f", b"\xdd\0\0\x0f\xff"])
    nest = opening * rng.randrange(1, 3000)
    kind = rng.choice([0, 1, 2, 3, 4, 9, 19, 20, 21, 99])
    wild = msgpack.packb([kind, *(rng.choice(ODD) for _ in range(rng.randrange(9)))])
    parts: list[bytes] = [head, nest, head + nest, checked(wild), checked(wild), checked(wild)[:-1], nest + wild]
    return rng.choice(parts)


ODD: list[Any] = [
    None, True, 0, 1, -1, 127, 2**16, 2**63, -(2**63), 1.5, float("nan"), "", "x", "y" * 2000, b"", b"\0\xd8",
    b"odd", [], [[]], {}, {"v": 1}, {"t": 9}, {"h": "x"}, {"o": [0, 1]}, {"o": "ab"}, {"i": "0x10"}, {"i": "zz"},
    {1: 2}, msgpack.ExtType(5, b"x"), msgpack.Timestamp(5), {"v": {}}, {"t": None}, {"i": 5},
]  # fmt: skip


def damaged(rng: random.Random, files: list[bytes]) -> bytes:
    data = bytearray(rng.choice(files))
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        place, size = rng.randrange(len(data) + 1), min(rng.randrange(1, 200), rng.randrange(1, 200))
        match rng.randrange(9):
            case 0 | 1:
                for _ in range(rng.choice([1, 1, 3, 20])):
                    if data:
                        data[rng.randrange(len(data))] = rng.randrange(256)
            case 2:
                del data[place:]
            case 3:
                data[place : place + size] = bytes(len(data[place : place + size]))
            case 4:
                data[place:place] = rng.randbytes(size)
            case 5:
                del data[place : place + size]
            case 6:
                other = rng.choice(files)
                data[place:] = other[rng.randrange(len(other)) :]
            case 7:
                data[place : place + rng.choice([0, size])] = hostile(rng)
            case _:
                data[:] = rng.choice([rng.randbytes(size), files[0][:300] + rng.randbytes(size), hostile(rng)])
    return bytes(data)


def small_files() -> list[bytes]:
    header, *rest = (SAMPLE[a:b] for a, b in zip(offsets(SAMPLE), offsets(SAMPLE)[1:], strict=False))
    small = with_records(THREAD, [1, 1, "Inbox"], [19, 5, 0, 1, 1, 2], [3, 1, 0], [21, 5, 0, None, 0], [3, 1, 0])
    return [small, SAMPLE, header + b"".join(rest[:6]), dump_trace(ONE)]


def read_damaged(seed: int, count: int) -> None:
    rng = random.Random(seed)
    files = small_files()
    for number in range(count):
        data = damaged(rng, files)
        try:
            trace = load_trace(data)
        except TraceError:
            continue
        assert len(dump_trace(trace)) > 0, (seed, number)  # and what was read is a trace


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files_raise_nothing_but_trace_errors(seed: int) -> None:
    read_damaged(seed, 500)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 120))
def test_100_000_damaged_files_raise_nothing_but_trace_errors(seed: int) -> None:
    read_damaged(seed, 5_000)


@given(st.binary(max_size=200))
@example(b"\x93\xa8synctape")
def test_any_bytes_after_a_header(data: bytes) -> None:
    trace = load_trace(header_of() + data)
    assert trace.damage is not None or data.startswith(b"\x93\x00")


# --- memory --------------------------------------------------------------------------------------------------


def peak(action: Callable[[], object]) -> int:
    """The most bytes that Python's allocators held at a time while `action` ran."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def run_through(events: Iterator[object]) -> int:
    return sum(1 for _ in events)


@pytest.mark.slow
@pytest.mark.parametrize("end", [True, False], ids=["whole", "cut"])
def test_a_file_of_any_size_is_read_in_constant_memory(tmp_path: Path, end: bool) -> None:
    def write(path: Path, calls: int) -> None:
        with open(path, "wb") as file:
            file.write(header_of())
            encoder = Encoder(file.write)
            encoder.thread(0, 1, "main")
            inputs = SYNC.method("Progress").inputs
            for number in range(calls):
                spelled = encoder.arguments(inputs, (f"Downloading {number % 1000}", number, calls))
                encoder.enter(3, 2, 0, spelled)
                encoder.leave(1, 0, Outcome())
        if end:
            data = path.read_bytes()
            path.write_bytes(data + end_record(zlib.crc32(data), None))

    def read(path: Path, way: Callable[[TraceReader], Iterator[object]], expected: int) -> int:
        with TraceReader(path) as reader:
            used = peak(lambda: run_through(way(reader)))
            assert (reader.damage is None) == end
            assert reader._decoder.count == expected
        return used

    few, many = tmp_path / "few.tape", tmp_path / "many.tape"
    write(few, 15_000)
    write(many, 150_000)
    for way in (TraceReader.events, TraceReader.calls):
        small, large = read(few, way, 30_000), read(many, way, 300_000)
        assert large < small * 1.2 + 100_000
        assert large < 4_000_000


@pytest.mark.parametrize(
    ("data", "limit"),
    [
        (b"\xdb\x7f\xff\xff\xff" + b"x" * 1000, 4),
        (b"\xdd\xff\xff\xff\xff" + b"\xc0" * 1000, 4),
        (b"\x91" * 500_000, 4),
        (b"\xdc\x0f\xff" * 100_000, 48),
        (checked(b"\xdd\x00\x00\x0f\xff" + b"\x90" * 4095), 4),
        (b"\xdc\x0f\xff" + (b"\xdc\x0f\xff" + b"\x80" * 4095) * 4095, 24),
        (b"\xdc\x0f\xff" + (b"\xdc\x0f\xff" + b"\x91\xc0" * 4095) * 4095, 24),
        (checked(msgpack.packb([2, (1 << 16) - 1, 0, 0, ""])), 16),
    ],
    ids=["text", "array", "deep", "deep arrays", "wide", "maps", "arrays", "thread"],
)
def test_hostile_input_takes_little_memory(data: bytes, limit: int) -> None:
    data = header_of() + data + bytes(10)

    def read() -> None:
        trace = load_trace(data)
        assert trace.events == ()
        assert trace.damage is not None

    assert peak(read) < limit << 20


def test_long_texts_are_read() -> None:
    text = "ä" * (1 << 22) + "\ud800"
    trace = Trace.from_calls(
        [Call("Progress", (text, 1, 2)), Call("Progress", (text[:-1], 1, 2))], outcomes=[NOT_RUN] * 2
    )
    loaded = load_trace(dump_trace(trace))
    assert loaded.calls == trace.calls
    assert loaded.damage is None


# --- schedules -----------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.lists(st.integers(-(2**40), 2**40), max_size=5), st.booleans()), max_size=8
    )
)
def test_a_schedule_comes_back_on_the_calls_it_belongs_to(drawn: list[tuple[int, list[int], bool]]) -> None:
    """The calls may overlap: what an enter says of switches is that of its own thread."""
    events: list[Event] = []
    for number, (thread, switches, _) in enumerate(drawn):
        events.append(Enter(number, Call("Progress", (None, 0, 1), thread, 0, tuple(switches))))
    events += [Leave(number, Outcome()) for number in range(len(drawn))]
    trace = Trace(Header(scheduled=True), tuple(events), (Thread(),) * 4)
    again = load_trace(dump_trace(trace))
    assert again.header.scheduled and again.events == trace.events and again.damage is None


def test_a_trace_that_is_not_scheduled_does_not_say_so() -> None:
    assert "scheduled" not in describe_header(Header())
    assert not load_trace(dump_trace(Trace())).header.scheduled


def test_switches_of_an_unknown_thread_are_damage() -> None:
    data = dump_trace(Trace(events=()))
    cut = data[: data.index(b"\x93\x00\xce")] + checked(msgpack.packb([5, 9, [1]]))
    assert "no such thread" in str(load_trace(cut).damage)
