"""The append-only file: windows, threads, and whatever happens in the middle of a step."""

from __future__ import annotations

import errno
import mmap
import os
import random
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from recorder import appending
from recorder.appending import AppendFile

END = b"<end>"


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> int:
    """Windows as small as a page; gives their size."""
    monkeypatch.setattr(appending, "_FIRST_WINDOW", mmap.ALLOCATIONGRANULARITY)
    monkeypatch.setattr(appending, "_LARGEST_WINDOW", mmap.ALLOCATIONGRANULARITY)
    return mmap.ALLOCATIONGRANULARITY


def opened(path: Path) -> AppendFile:
    return AppendFile(os.fspath(path))


def test_records_stand_one_after_the_other(tmp_path: Path) -> None:
    file = opened(tmp_path / "a")
    for record in (b"one", b"two", b"three"):
        assert file.append(record)
    assert (tmp_path / "a").read_bytes().rstrip(b"\0") == b"onetwothree"
    assert file.close(lambda crc: END + crc.to_bytes(4, "big"))
    assert (tmp_path / "a").read_bytes() == b"onetwothree" + END + zlib.crc32(b"onetwothree").to_bytes(4, "big")


def test_what_was_written_is_in_the_file_before_it_is_closed(tmp_path: Path) -> None:
    file = opened(tmp_path / "a")
    file.append(b"one")
    file.flush()
    assert (tmp_path / "a").read_bytes()[:4] == b"one\0"
    file.close(lambda crc: END)


def test_nobody_waits_for_the_disk_but_who_hands_it_over(
    tmp_path: Path, small_windows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread goes on writing, into the next window; the whole file is handed over, not a window."""
    file = opened(tmp_path / "a")
    record = bytes([1]) * (2 * small_windows)
    handed = []

    def fsync(fd: int) -> None:
        thread = threading.Thread(target=file.append, args=(record,), daemon=True)
        thread.start()
        thread.join(10)
        handed.append((thread.is_alive(), os.fstat(fd).st_size >= len(record)))

    monkeypatch.setattr(os, "fsync", fsync)
    file.flush()
    assert handed == [(False, True)]
    file.close(lambda crc: END)


def test_a_closed_file_takes_nothing(tmp_path: Path) -> None:
    file = opened(tmp_path / "a")
    assert file.close(lambda crc: END)
    assert not file.close(lambda crc: END)
    assert not file.append(b"late")
    file.flush()
    with pytest.raises(ValueError, match="closed"):
        file.write(b"late")
    assert (tmp_path / "a").read_bytes() == END


@pytest.mark.parametrize("seed", range(5))
def test_records_of_all_sizes_cross_windows(tmp_path: Path, small_windows: int, seed: int) -> None:
    rng = random.Random(seed)
    sizes = [1, 2, 17, 100, small_windows // 2, small_windows - 1, small_windows, 3 * small_windows + 5]
    records = [bytes((1 + number % 255,)) * rng.choice(sizes) for number in range(60)]
    file = opened(tmp_path / "a")
    for record in records:
        assert file.append(record)
    file.close(lambda crc: END)
    assert (tmp_path / "a").read_bytes() == b"".join(records) + END


def test_windows_grow(tmp_path: Path) -> None:
    file = opened(tmp_path / "a")
    sizes = []
    for _ in range(300):
        file.append(b"x" * 100_000)
        sizes.append((tmp_path / "a").stat().st_size)
    file.close(lambda crc: END)
    assert (tmp_path / "a").stat().st_size == 30_000_000 + len(END)
    assert len(set(sizes)) < 9  # 256 KiB, 512 KiB ... 16 MiB


def test_past_its_limit_a_file_grows_by_no_more_than_it_needs(tmp_path: Path) -> None:
    file = AppendFile(os.fspath(tmp_path / "a"), limit=1 << 16)
    record = b"x" * 100
    while not file.due:
        file.append(record)
    for _ in range(10):  # the calls that are still open end
        file.append(record)
    assert file.due
    assert (tmp_path / "a").stat().st_size <= (1 << 16) + (1 << 13)
    file.close(lambda crc: END)


@pytest.mark.parametrize("gil", [True, False])
def test_threads_lose_nothing(
    tmp_path: Path, small_windows: int, monkeypatch: pytest.MonkeyPatch, gil: bool
) -> None:
    monkeypatch.setattr(appending, "GIL", gil and appending.GIL)
    file = opened(tmp_path / "a")
    barrier = threading.Barrier(8)

    def write(letter: bytes) -> None:
        barrier.wait()
        for number in range(1000):
            file.append(letter + b"%04d" % number)

    threads = [threading.Thread(target=write, args=(letter.encode(),)) for letter in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    file.close(lambda crc: b"")
    data = (tmp_path / "a").read_bytes()
    records = [data[start : start + 5] for start in range(0, len(data), 5)]
    assert sorted(records) == sorted(
        b"%c%04d" % (letter, number) for letter in b"abcdefgh" for number in range(1000)
    )
    for letter in b"abcdefgh":
        own = [record for record in records if record[0] == letter]
        assert own == sorted(own)


def test_closing_while_threads_write(tmp_path: Path, small_windows: int) -> None:
    for attempt in range(10):
        path = tmp_path / str(attempt)
        file = opened(path)
        written: list[list[bytes]] = [[] for _ in range(4)]
        started = threading.Barrier(5)

        def write(
            number: int,
            file: AppendFile = file,
            started: threading.Barrier = started,
            written: list[list[bytes]] = written,
        ) -> None:
            started.wait()
            count = 0
            while file.append(record := b"%d%07d" % (number, count)):
                written[number].append(record)
                count += 1

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        started.wait()
        while not written[attempt % 4]:
            pass
        file.close(lambda crc: END)
        for thread in threads:
            thread.join()
        data = path.read_bytes()
        assert data.endswith(END)
        records = [data[start : start + 8] for start in range(0, len(data) - len(END), 8)]
        assert sorted(records) == sorted(record for own in written for record in own)


# --- trouble -------------------------------------------------------------------------------------------------


def test_an_existing_file_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        opened(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"mine"


def no_room(file: AppendFile, full: mmap.mmap, size: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_no_room_for_a_first_window_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AppendFile, "_allocate", no_room)
    with pytest.raises(OSError, match="No space left"):
        opened(tmp_path / "a")
    assert os.listdir(tmp_path) == []


def test_no_room_for_a_next_window_keeps_what_is_there(
    tmp_path: Path, small_windows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = opened(tmp_path / "a")
    with monkeypatch.context() as patched:
        patched.setattr(AppendFile, "_allocate", no_room)
        count = 0
        with pytest.raises(OSError, match="No space left"):
            while file.append(b"0123456789"):
                count += 1
        assert count == small_windows // 10
        with pytest.raises(OSError, match="No space left"):  # and a short one does not slip in behind
            file.append(b"x")
    assert file.append(b"later")  # there is room again
    file.close(lambda crc: END)
    assert (tmp_path / "a").read_bytes() == b"0123456789" * count + b"later" + END


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="there is nothing to fall back from")
@pytest.mark.parametrize("code", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_file_system_that_cannot_allocate_gets_zeros(
    tmp_path: Path, small_windows: int, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(fd: int, start: int, size: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    file = opened(tmp_path / "a")
    for _ in range(1000):
        file.append(b"0123456789")
    file.close(lambda crc: END)
    assert (tmp_path / "a").read_bytes() == b"0123456789" * 1000 + END


def test_a_file_that_cannot_be_cut_is_ended_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, while another process maps it."""

    def refuse(fd: int, size: int) -> None:
        raise OSError(errno.EACCES, "a section is mapped")

    file = opened(tmp_path / "a")
    file.append(b"one")
    monkeypatch.setattr(os, "ftruncate", refuse)
    file.close(lambda crc: END)
    data = (tmp_path / "a").read_bytes()
    assert data.rstrip(b"\0") == b"one" + END
    assert len(data) > 10_000


def test_an_end_that_cannot_be_written_is_an_error_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int, data: bytes) -> int:
        raise OSError(errno.EIO, "broken")

    file = opened(tmp_path / "a")
    file.append(b"one")
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", refuse)
        with pytest.raises(OSError, match="broken"):
            file.close(lambda crc: END)
    assert not file.close(lambda crc: END)
    assert (tmp_path / "a").read_bytes() == b"one"


# --- in the middle of a step ---------------------------------------------------------------------------------


Inject = Callable[[Callable[[], object], Callable[[], object], int], bool]


def split(data: bytes) -> list[bytes]:
    """The records of a file, each of 8 bytes."""
    if os.name == "nt":  # it cannot be cut while a window of an interrupted step is still mapped
        data = data.rstrip(b"\0")
    body = data.removesuffix(END)
    assert len(body) == len(data) - len(END)
    assert len(body) % 8 == 0
    return [body[start : start + 8] for start in range(0, len(body), 8)]


class Run:
    """Appends records over the end of a window, with `action` at the `at`th point, and then one more."""

    def __init__(self, inject: Inject, path: Path, action: Callable[[AppendFile], object], at: int):
        file = opened(path)
        self.acknowledged: list[bytes] = []

        def append(record: bytes) -> None:
            if file.append(record):
                self.acknowledged.append(record)

        def scenario() -> None:
            for number in range(4):
                append(b"step %03d" % number)

        for number in range(mmap.ALLOCATIONGRANULARITY // 8 - 2):
            append(b"f%07d" % number)
        self.happened = inject(scenario, lambda: action(file), at)
        append(b"the last")
        file.close(lambda crc: END)
        self.records = split(path.read_bytes())


@pytest.fixture(params=["posix_fallocate", "pwrite", "ftruncate"])
def any_allocation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each way of making room, where the system has it."""
    if not hasattr(os, request.param):
        pytest.skip(f"this system has no {request.param}")
    if request.param != "posix_fallocate":
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    if request.param == "ftruncate":
        monkeypatch.delattr(os, "pwrite", raising=False)


@pytest.mark.usefixtures("any_allocation")
@pytest.mark.parametrize("count", [1, 2000])
def test_a_handler_may_append_in_the_middle(
    tmp_path: Path, small_windows: int, inject: Inject, count: int
) -> None:
    """A signal handler or a finaliser appends at any point where one can run."""

    def action(file: AppendFile) -> None:
        assert all(file.append(b"nested!!") for _ in range(count))

    at, happened = 0, True
    while happened:
        run = Run(inject, tmp_path / str(at), action, at)
        happened = run.happened
        assert [record for record in run.records if record != b"nested!!"] == run.acknowledged
        assert run.records.count(b"nested!!") == happened * count
        at += 1
    assert at > 25


@pytest.mark.usefixtures("any_allocation")
def test_a_handler_may_close_in_the_middle(tmp_path: Path, small_windows: int, inject: Inject) -> None:
    at, happened = 0, True
    while happened:
        run = Run(inject, tmp_path / str(at), lambda file: file.close(lambda crc: END), at)
        happened = run.happened
        assert run.records[: len(run.acknowledged)] == run.acknowledged
        assert len(run.records) - len(run.acknowledged) in (0, 1)  # closed between writing and telling
        at += 1
    assert at > 25


@pytest.mark.usefixtures("any_allocation")
def test_an_interrupt_in_the_middle_breaks_nothing(tmp_path: Path, small_windows: int, inject: Inject) -> None:
    def interrupt(file: AppendFile) -> None:
        raise KeyboardInterrupt

    def interrupted(scenario: Callable[[], object], action: Callable[[], object], at: int) -> bool:
        try:
            return inject(scenario, action, at)
        except KeyboardInterrupt:
            return True

    at, happened = 0, True
    while happened:
        run = Run(interrupted, tmp_path / str(at), interrupt, at)
        happened = run.happened
        assert [record for record in run.records if record in run.acknowledged] == run.acknowledged
        assert len(run.records) - len(run.acknowledged) in (0, 1)  # written, but not told
        at += 1
    assert at > 25
