"""Hosts on progress libraries of others: captured runs pass on them, and what was found in them still fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOSTS = ROOT / "examples" / "hosts"
CAPTURED = ROOT / "corpora" / "imapisyncprogresscallback" / "captured"
NAMES = sorted(file.stem.removesuffix("_host") for file in HOSTS.glob("*_host.py"))
FOUND = {  # what is kept in corpora/found, the host that it fails on, and how
    "tqdm_lock_is_kept": ("tqdm", ("X2",)),
    "alive_progress_long_text": ("alive", ("X2", "H18")),
    "click_bar_below_zero": ("click", ("X2", "X6", "H18")),
    "tk_long_text": ("tk", ("X7",)),
    "rich_markup": ("rich", ("X3",)),
    "rich_surrogate_raises_later": ("rich", ("X3",)),
    "textual_markup": ("textual", ("X3",)),
    "whiptail_long_text": ("whiptail", ("X2",)),
    "progressbar2_is_kept": ("progressbar2", ("X10",)),
    "qt_maximum_beyond_int": ("qt", ("X3",)),
}

pytestmark = pytest.mark.hosts


def synctape(host: str, *arguments: str | Path) -> tuple[int, str]:
    """A command as a reader types it, in the hosts' folder."""
    before = [shutil.which("xvfb-run") or "xvfb-run", "-a"] if host == "tk" else []
    done = subprocess.run(
        [*before, sys.executable, "-m", "synctape", *arguments, "--target", f"{host}_host:Host"],
        cwd=HOSTS,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("host", NAMES)
def test_a_captured_run_is_shown(host: str) -> None:
    code, output = synctape(host, "replay", CAPTURED / "refused.tape")
    assert (code, output.splitlines()[-1]) == (0, "1 trace: 1 passed, 0 failed, 0 fixed, 0 errors"), output


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_still_fails(name: str) -> None:
    host, codes = FOUND[name]
    path = ROOT / "corpora" / "found" / f"{name}.tape"
    often = ["--repeat", "200"] if "X10" in codes else []
    code, output = synctape(host, "replay", path, "--memory", "1024", *often)
    assert code == 1 and output.startswith("FAILED"), output
    assert any(word in output.splitlines()[0] for word in codes), output


NONE_IS_GIVEN_AWAY = """
import sys
from PySide6.QtWidgets import QApplication, QProgressDialog

application = QApplication(["", "-platform", "offscreen"])
dialog = QProgressDialog()
before = sys.getrefcount(None)
for index in range(100):
    dialog.setValue(index)
print(before - sys.getrefcount(None))
"""


def test_each_call_of_qt_gives_a_reference_to_none_away() -> None:
    """Until CPython 3.12, where None has none to lose."""
    command = [sys.executable, "-c", NONE_IS_GIVEN_AWAY]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (int(done.stdout) >= 100) == (sys.version_info < (3, 12)), done.stdout


LEFT_ALONE = """
import os, signal
from terminal import Terminal

signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
terminal = Terminal()
print(terminal.run("sleep", "600").pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_on_a_terminal_ends_with_the_host_that_was_killed() -> None:
    host = subprocess.run([sys.executable, "-c", LEFT_ALONE], cwd=HOSTS, capture_output=True, check=False)
    pid = int(host.stdout)
    deadline = time.monotonic() + 20
    while (alive := _runs(pid)) and time.monotonic() < deadline:
        time.sleep(0.02)
    if alive:
        os.kill(pid, 9)
    assert not alive


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_no_host_is_longer_than_a_screen() -> None:
    for name in NAMES:
        assert 10 <= len((HOSTS / f"{name}_host.py").read_text("utf-8").splitlines()) <= 20


def test_a_campaign_finds_the_markup(tmp_path: Path) -> None:
    code, output = synctape("rich", "fuzz", "--max-runs", "100", "--seed", "1", "--findings", tmp_path)
    assert code == 1 and "MarkupError" in output, output
