"""The options of `synctape record` that say how a capture is kept."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from recorder.check_cli import check
from recorder.cli import record
from recorder.session_input import parts
from recorder.show_cli import show
from recorder.trace import read_trace

PROVIDER = """
import errno, os

def long(callback):
    for number in range(30_000):
        callback.Progress(f"Zyxwvut {number % 200}", number % 1000, 1000)
    callback.Done(None, 0)

def stopped(callback):
    long(callback)
    real, os.open = os.open, full
    try:
        long(callback)
    finally:
        os.open = real

def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")

def short(callback):
    callback.Progress("Zyxwvut", 1, 1)
    callback.Done(None, 0)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "bounded_provider.py").write_text(PROVIDER, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "bounded_provider", raising=False)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(record, [*arguments, "-o", "run.tape"])


@pytest.mark.slow
def test_a_ring_is_told_and_read_as_one_trace(folder: Path) -> None:
    done = run("bounded_provider:long", "--ring", "1M")
    assert done.exit_code == 0, done.output
    numbers = [number for number, _ in parts(folder / "run.tape")]
    assert 1 not in numbers and len(numbers) >= 7
    assert f"after {numbers[-1] - len(numbers)} file" in done.output
    assert "Done(NULL, S_OK)" in CliRunner().invoke(show, ["run.tape"]).output
    assert CliRunner().invoke(show, ["run.tape", "--stats"]).exit_code == 0
    assert CliRunner().invoke(check, ["run.tape"]).exit_code in (0, 1)
    again = run("bounded_provider:short", "--ring", "1M")
    assert again.exit_code != 0
    assert [number for number, _ in parts(folder / "run.tape")] == numbers
    assert run("bounded_provider:short", "--max-size", "1M", "--force").exit_code == 0
    assert [number for number, _ in parts(folder / "run.tape")] == [1]


@pytest.mark.slow
def test_a_recording_that_stopped_is_told_although_files_were_dropped(folder: Path) -> None:
    done = run("bounded_provider:stopped", "--ring", "1M")
    last = parts(folder / "run.tape")[-1][1].name
    assert done.exit_code == 3, done.output
    assert f"before {last} dropped, calls are missing; {last}: recording stopped: No space left" in done.output


def test_redact_keeps_words_out(folder: Path) -> None:
    done = run("bounded_provider:short", "--redact", "--sync", "call")
    assert done.exit_code == 0, done.output
    assert b"Zyxwvut" not in (folder / "run.tape").read_bytes()
    assert read_trace(folder / "run.tape").header.redaction == "texts"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--ring", "1M", "--max-size", "1M"], "exclude each other"),
        (["--ring", "10K"], "too little"),
        (["--max-size", "huge"], "is no size"),
        (["--sync", "0"], "neither 'call' nor"),
        (["--sync", "nan"], "neither 'call' nor"),
    ],
)
def test_what_makes_no_sense(folder: Path, options: list[str], complaint: str) -> None:
    done = run("bounded_provider:short", *options)
    assert done.exit_code == 2 and complaint in done.output
    assert not list(folder.glob("*.tape"))
