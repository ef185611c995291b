"""Corpora behind URLs: read, written and moved as local ones; whatever is wrong is told in a line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sequences import CALLBACK, GOOD, regression, save, trace

from recorder.errors import SynctapeError, TraceError
from recorder.text import to_text
from recorder.trace import dump_trace
from replayer.cli import replay
from replayer.corpus import find_traces, load, recorded_interface
from replayer.locations import Folder, RemoteFile, as_shown, is_url, open_folder, safe_name
from replayer.reports import reproduce_line

ROOT = Path(__file__).parent.parent.parent
DATA = dump_trace(trace(*GOOD))


@pytest.fixture(params=["here", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Folder]:
    """The same folder of this machine, and in a file system of fsspec's that is in memory."""
    if request.param == "here":
        yield open_folder(tmp_path / "corpus")
        return
    import fsspec

    yield open_folder("memory://locations/corpus")
    fsspec.filesystem("memory").rm("/locations", recursive=True)


def test_what_is_written_is_read_listed_and_found(folder: Folder) -> None:
    assert folder.names() == []
    folder.write("b.tape", DATA)
    folder.write("deep/er/a.tape", DATA)
    folder.write("README.md", b"not a trace")
    assert folder.names() == ["README.md", "b.tape", "deep/er/a.tape"]
    assert folder.read("deep/er/a.tape") == DATA
    found = find_traces([str(folder)])
    assert [file.name for file in found] == ["b.tape", "a.tape"]
    assert [load(file).calls for file in found] == [trace(*GOOD).calls] * 2
    assert recorded_interface(found) == CALLBACK and found[0] == folder.file("b.tape")


def test_what_is_there_stays_unless_told(folder: Folder) -> None:
    folder.write("a.tape", b"mine")
    with pytest.raises(TraceError, match=r"a\.tape: exists already; it is left as it is"):
        folder.write("a.tape", DATA)
    assert folder.read("a.tape") == b"mine"
    folder.write("a.tape", DATA, overwrite=True)
    assert folder.read("a.tape") == DATA and folder.names() == ["a.tape"]
    folder.remove("a.tape")
    assert folder.names() == []


def test_a_folder_beside_has_its_name_and_an_ending(folder: Folder) -> None:
    beside = folder.beside("-failures")
    beside.write("a.tape", DATA)
    assert str(beside).endswith("corpus-failures") and folder.names() == [] and beside.names() == ["a.tape"]
    beside.remove("a.tape")


def test_what_is_not_there_is_told(folder: Folder) -> None:
    with pytest.raises(TraceError, match=r"^[^\n]*none\.tape: no such file[^\n]*$|none\.tape: No such file"):
        folder.read("none.tape")
    with pytest.raises(SynctapeError, match="no such file or folder"):
        find_traces([str(folder)])
    folder.write("note.txt", b"")
    with pytest.raises(SynctapeError, match=r"no \.tape files in this folder"):
        find_traces([str(folder)])


def test_a_file_half_written_is_not_there(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.memory import MemoryFile

    def full(self: object, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    monkeypatch.setattr(MemoryFile, "write", full)
    with pytest.raises(TraceError, match="No space left on device"):
        folder.write("a.tape", DATA)
    monkeypatch.undo()
    assert folder.names() == []


def test_many_files_are_fetched_together(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    system = fsspec.filesystem("memory")
    corpus = open_folder("memory://many")
    for number in range(70):
        corpus.write(f"{number:02}.tape", dump_trace(trace(*GOOD, number=number)))
    files, asked = find_traces(["memory://many"]), []
    fetch = type(system).cat

    def watched(self: Any, paths: list[str], **options: Any) -> Any:
        asked.append(len(paths))
        return fetch(self, paths, **options)

    monkeypatch.setattr(type(system), "cat", watched)
    assert [load(file).header.provenance["number"] for file in files] == list(range(70))
    assert asked == [64, 6]
    system.rm("/many", recursive=True)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense://bucket/path", "nonsense://bucket/path: cannot be reached: Protocol not known: nonsense"),
        ("memory://nowhere", "memory://nowhere: no such file or folder"),
    ],
)
def test_what_cannot_be_reached_is_told_in_a_line(url: str, said: str) -> None:
    done = CliRunner().invoke(replay, [url, "--target", "targets.clean:Host"])
    assert isinstance(done.exception, SynctapeError) and str(done.exception) == said


def test_without_the_extra_a_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(SynctapeError, match=r"^s3://bucket/path: needs fsspec; pip install 'synctape\[remote\]'$"):
        find_traces(["s3://bucket/path"])
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(SynctapeError, match=r"s3://bucket/path: .*; pip install 'synctape\[remote\]'"):
        find_traces(["s3://bucket/path"])


def test_paths_of_this_machine_do_not_import_fsspec(tmp_path: Path) -> None:
    save(tmp_path, "good", trace(*GOOD))
    code = (
        "import sys\nfrom replayer.corpus import find_traces, load\nfrom replayer.locations import open_folder\n"
        f"[load(p) for p in find_traces([{str(tmp_path)!r}])]; open_folder({str(tmp_path)!r}).names()\n"
        "print('fsspec' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "False"


def test_replay_plays_what_lies_behind_a_url(capfd: pytest.CaptureFixture[str]) -> None:
    corpus = open_folder("memory://replayed")
    corpus.write("good.tape", DATA)
    corpus.write("late.tape", dump_trace(regression("X3", *GOOD, GOOD[0])))
    corpus.write("text.tape", to_text(trace(*GOOD)).encode())
    corpus.write("torn.tape", DATA[:-10])
    arguments = ["memory://replayed", "--target", "targets.raises_after_done:Host", "--in-process"]
    done = CliRunner().invoke(replay, arguments, catch_exceptions=False)
    assert done.exit_code == 1
    assert "PASSED  memory://replayed/good.tape" in done.output.replace(":///", "://")
    assert "FAILED  memory://replayed/late.tape" in done.output.replace(":///", "://")
    assert "4 traces: 3 passed, 1 failed" in done.output
    assert "torn.tape: ends without an end record" in done.stderr + capfd.readouterr().err
    assert "synctape replay memory://" in done.output


def test_a_url_is_told_from_a_path() -> None:
    assert is_url("s3://bucket/path") and is_url("memory://x")
    assert not any(map(is_url, ("C:\\traces", "C://traces", "traces/s3", "./s3:/x", Path("s3://bucket"))))
    assert as_shown("s3://bucket//x") == "s3://bucket//x" and as_shown(Path("a") / "b") == "a/b"
    assert "replay s3://bucket/x.tape --target" in reproduce_line("s3://bucket/x.tape", "a:b")
    assert isinstance(open_folder("memory://x").file("y"), RemoteFile)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("captured/a.tape", "captured/a.tape"),
        ("../../etc/a.tape", "_/_/etc/a.tape"),
        ("/a//./b.tape", "a/b.tape"),
        ("c:\\x|y\n.tape", "c__x_y_.tape"),
        ("..", "_"),
        ("", "_"),
    ],
)
def test_a_name_from_elsewhere_stays_in_its_folder(name: str, safe: str) -> None:
    assert safe_name(name) == safe
