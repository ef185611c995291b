"""The shared list: both sides see the same, however it grows, and a death in mid-append leaves nothing."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from replayer.shared import HEAD, LENGTH, SharedList


@pytest.fixture(params=["as made", "temporary file"])
def made(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SharedList]:
    """A new list: in memory where the system has that, and in a file."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if request.param == "temporary file":
        monkeypatch.setattr(sys, "platform", "win32" if sys.platform == "win32" else "other")
    new = SharedList()
    yield new
    new.close()
    assert not any(tmp_path.iterdir())


def test_what_one_side_appends_the_other_sees(made: SharedList) -> None:
    other = SharedList(made.path)
    assert list(other) == []
    made.append(b"one")
    made.extend([b"", b"x" * 1000])
    assert list(other) == list(made) == [b"one", b"", b"x" * 1000]
    other.append(b"back")
    assert len(made) == 4 and list(made)[3] == b"back"
    made.clear()
    assert list(other) == []
    other.close()


@pytest.mark.parametrize("grower", [0, 1])
def test_it_grows_on_either_side(made: SharedList, grower: int) -> None:
    other = SharedList(made.path)
    blobs = [bytes([number]) * 40_000 for number in range(20)]
    for blob in blobs:
        (made, other)[grower].append(blob)
    assert list((made, other)[1 - grower]) == blobs
    (made, other)[1 - grower].append(b"last")
    assert list((made, other)[grower]) == [*blobs, b"last"]
    other.close()


def test_another_process_sees_it_and_its_end_changes_nothing(made: SharedList) -> None:
    script = "import os, sys; from replayer.shared import SharedList; l = SharedList(sys.argv[1])"
    script += "; l.append(b'y' * 100_000); os._exit(len(l))"
    made.append(b"x")
    assert subprocess.run([sys.executable, "-c", script, made.path], check=False).returncode == 2
    assert list(made) == [b"x", b"y" * 100_000]


def test_what_was_not_wholly_appended_is_not_there(made: SharedList) -> None:
    made.append(b"whole")
    with made.buffer() as view:  # as a process leaves it that dies before the last step
        LENGTH.pack_into(view, HEAD.unpack_from(view)[1], 4)
    assert list(made) == [b"whole"]
    made.append(b"next")
    assert list(made) == [b"whole", b"next"]


@pytest.mark.parametrize(
    ("count", "end"), [(5, HEAD.size), (2**64 - 1, 2**64 - 1), (3, HEAD.size + 14), (1, 0)], ids=str
)
def test_a_list_that_the_target_wrote_over_ends_early(made: SharedList, count: int, end: int) -> None:
    made.extend([b"first", b"second"])
    with made.buffer() as view:
        HEAD.pack_into(view, 0, count, end)
        LENGTH.pack_into(view, HEAD.size + 2 * LENGTH.size + len(b"firstsecond"), 2**32 - 1)
    assert [b"first", b"second"][: len(list(made))] == list(made)


def test_no_such_list(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        SharedList(str(tmp_path / "nowhere"))
