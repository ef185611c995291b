"""The sandbox: whatever the child does, the parent gets an answer or a Death, and nothing is left behind."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from recorder.calls import OutcomeKind
from recorder.errors import SynctapeError
from replayer.sandbox import Death, ExecutorError, Sandbox
from replayer.sandbox_child import LENGTH, frame

HERE = str(Path(__file__).parent)
WINDOWS = sys.platform == "win32"
SHORT = 0.5 if WINDOWS else 0.2  # seconds until a hang is one
PATIENCE = 20.0  # seconds until a test gives up

posix = pytest.mark.skipif(WINDOWS, reason="POSIX signals and processes")
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def sandbox(job: str = "act", config: Any = None, **options: Any) -> Sandbox:
    return Sandbox(f"sandbox_jobs:{job}", config, path=[HERE], **options)


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    """One sandbox for all tests that leave a usable one, as every test must."""
    with sandbox() as box:
        yield box


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


def exists(pid: int) -> bool:
    """Whether a process lives; zombies do not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# ------------------------------------------------------------------------------------------------- replies


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -(2**63),
        2**64 - 1,
        1.5,
        b"\x00\xff",
        "Größe \ud800 lone \udc00",
        [1, [2, {"a": None, 3: "b"}]],
        "x" * 1_000_000,
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_config_payload_and_reply_pass_unchanged(value: Any) -> None:
    with sandbox("echo", value) as box:
        assert box.request(value) == [value, value]


def test_one_process_answers_many_requests(shared: Sandbox) -> None:
    first = shared.request(["count"])
    assert [shared.request(["count"]) for _ in range(3)] == [first + 1, first + 2, first + 3]


def test_large_payloads_and_replies_pass(shared: Sandbox) -> None:
    assert shared.request(["big", 20_000_000]) == b"z" * 20_000_000
    with sandbox("echo") as box:
        assert box.request(b"q" * 20_000_000)[1] == b"q" * 20_000_000


def test_standard_streams_are_closed_to_the_target(shared: Sandbox) -> None:
    assert shared.request(["read_stdin"]) == ""
    assert shared.request(["chatter", 100_000]) == "quiet"


def test_target_output_is_shown_on_demand(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.setenv("SYNCTAPE_TARGET_OUTPUT", "1")
    with sandbox() as box:
        box.request(["chatter", 3])
    shown = capfd.readouterr()
    assert not shown.out
    assert len(shown.err) > 8 << 20


# -------------------------------------------------------------------------------------------------- deaths

NULL_READ = "0xC0000005 STATUS_ACCESS_VIOLATION" if WINDOWS else "SIGSEGV"


@pytest.mark.parametrize(
    ("request_", "detail", "position", "in_stack"),
    [
        (["read_null", 5, 6], NULL_READ, (5, 6), "" if WINDOWS else "in _read_null"),
        (["read_null", 2**64 - 1, 0], NULL_READ, (2**64 - 1, 0), ""),
        (["abort"], "exit code 3" if WINDOWS else "SIGABRT", (0, 0), "in _abort"),
        (["exit", 0], "exit code 0 (the target ended the process)", (0, 0), ""),
        (["exit", 3], "exit code 3", (0, 0), ""),
    ],
)
def test_a_crash_is_told(
    shared: Sandbox, request_: list[Any], detail: str, position: tuple[int, int], in_stack: str
) -> None:
    death = shared.request(request_)
    assert (death.kind, death.detail, death.position) == (OutcomeKind.CRASHED, detail, position)
    assert in_stack in death.stack
    assert shared.request(["count"]) == 1  # in a fresh process


def test_a_position_is_that_of_its_own_request(shared: Sandbox) -> None:
    assert shared.request(["advance", 0.0]) == "done"
    shared.request(["read_null", 9, 9])
    assert shared.request(["exit", 3]).position == (0, 0)


@pytest.mark.parametrize(
    ("action", "position", "function"),
    [("endless_loop", (7, 8), "_endless_loop"), ("hold_interpreter", (0, 0), "_hold_interpreter")],
)
def test_a_hang_is_told_with_its_stack(
    shared: Sandbox, action: str, position: tuple[int, int], function: str
) -> None:
    death = shared.request([action], timeout=SHORT)
    assert death == Death(OutcomeKind.HUNG, f"no answer for {SHORT:g} s", position, death.stack)
    assert f"in {function}" in death.stack
    assert shared.request(["count"]) == 1


def test_progress_is_no_hang(shared: Sandbox) -> None:
    assert shared.request(["advance", 4 * SHORT], timeout=SHORT) == "done"


def test_a_stack_is_that_of_its_own_death(shared: Sandbox) -> None:
    """What was written for one death, or of a long wait before it, does not come up at the next."""
    shared.request(["abort"])
    assert not shared.request(["exit", 3]).stack
    assert not shared.request(["exit_late", 0.7 * SHORT], timeout=SHORT).stack


@linux
def test_memory_limit() -> None:
    with sandbox(memory=64) as box:
        assert box.request(["take_memory", 8]) == 8 << 20
        death = box.request(["take_memory", 128])
        assert (death.kind, death.detail) == (OutcomeKind.CRASHED, "memory limit of 64 MiB")
        assert death.position == (1, 2)
        assert "in _take_memory" in death.stack
        assert box.request(["take_memory", 8]) == 8 << 20


@posix
@pytest.mark.parametrize("sent", [b"\x09", LENGTH.pack(100) + b"half", frame(["reply", "x" * 9])[:-1]])
def test_death_in_the_middle_of_an_answer(shared: Sandbox, sent: bytes) -> None:
    death = shared.request(["die_in_the_answer", sent])
    assert (death.kind, death.detail, death.position) == (OutcomeKind.CRASHED, "SIGKILL", (3, 4))
    assert shared.request(["count"]) == 1


@pytest.mark.parametrize("sent", [LENGTH.pack(2**32 - 1), LENGTH.pack(1) + b"\xc1", frame(["x"]), frame(7)])
def test_a_damaged_answer_is_a_death(shared: Sandbox, sent: bytes) -> None:
    death = shared.request(["answer_falsely", sent])
    assert (death.kind, death.detail) == (OutcomeKind.CRASHED, "its answer was damaged")
    assert shared.request(["count"]) == 1


@linux
def test_a_crash_between_requests_is_that_of_the_next(shared: Sandbox) -> None:
    pid = shared.request(["crash_later"])
    until(lambda: not exists(pid))
    assert shared.request(["count"]).detail == "SIGSEGV"
    assert shared.request(["count"]) == 1


@posix
@pytest.mark.parametrize("size", [10, 20_000_000])
def test_a_request_that_is_not_read_is_a_hang(shared: Sandbox, size: int) -> None:
    shared.request(["hang_later"])
    time.sleep(0.1)  # without it the request may be read, and is answered
    death = shared.request(["count", b"x" * size], timeout=SHORT)
    assert death.kind is OutcomeKind.HUNG
    assert shared.request(["count"]) == 1


@linux
def test_a_target_that_kills_the_template(shared: Sandbox) -> None:
    pid, _ = shared.request(["pids"])
    death = shared.request(["kill_template"])
    assert (death.kind, death.detail) == (OutcomeKind.CRASHED, "SIGKILL")
    until(lambda: not exists(pid))
    assert shared.request(["count"]) == 1


@posix
def test_a_fork_of_the_target_does_not_answer_too(shared: Sandbox) -> None:
    assert shared.request(["return_twice"]) == "original"
    assert isinstance(shared.request(["count"]), int)


@linux
def test_an_import_that_leaves_threads_gets_a_process_for_each_death() -> None:
    with sandbox(config={"import": "thread"}) as box:
        _, parent = box.request(["pids"])
        assert parent == os.getpid()
        assert box.request(["read_null", 1, 2]).position == (1, 2)
        death = box.request(["hold_interpreter"], timeout=SHORT)
        assert death.kind is OutcomeKind.HUNG
        assert "in _hold_interpreter" in death.stack
        assert box.request(["count"]) == 1


def children(pid: int) -> list[int]:
    """Those that live."""
    found = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return list(filter(exists, found))


@linux
def test_a_spare_stands_by_once_one_has_died() -> None:
    """It is the next worker; and none that was left over outlives the sandbox."""
    with sandbox() as box:
        first, template = box.request(["pids"])
        assert children(template) == [first]
        box.request(["read_null", 1, 1])
        second, _ = box.request(["pids"])
        until(lambda: len(children(template)) == 2)
        (spare,) = set(children(template)) - {second}
        assert box.request(["read_null", 2, 2]).position == (2, 2)
        assert box.request(["pids"]) == [spare, template]
        until(lambda: len(children(template)) == 2)
        left = children(template)
    until(lambda: not any(map(exists, left)))


@linux
def test_what_a_worker_left_behind_is_no_zombie_whenever_it_dies(tmp_path: Path) -> None:
    """With an environment of its own, a sanitizer's, a sandbox takes in what workers leave."""
    if sys.platform == "win32":
        raise NotImplementedError
    with sandbox(environment=jobs_environment) as box:
        assert box.request(["leave_daemon", str(tmp_path / "pid")]).detail == "SIGKILL"
        worker, template = box.request(["pids"])  # the next one is at work
        daemon = int((tmp_path / "pid").read_text())
        assert {daemon, worker} <= set(children(template))
        os.kill(daemon, signal.SIGKILL)
        until(lambda: not Path(f"/proc/{daemon}").exists())
        assert box.request(["pids"]) == [worker, template]


@linux
def test_a_spare_that_does_not_last_is_no_matter() -> None:
    if sys.platform == "win32":
        raise NotImplementedError
    with sandbox() as box:
        _, template = box.request(["pids"])
        for number in range(3):
            box.request(["read_null", number, 1])
            worker, _ = box.request(["pids"])
            until(lambda: len(children(template)) == 2)
            (spare,) = set(children(template)) - {worker}
            os.kill(spare, signal.SIGKILL)
            until(lambda spare=spare: not exists(spare))  # type: ignore[misc]
            assert box.request(["count"]) == 1
        assert box.request(["read_null", 7, 8]).position == (7, 8)


# ----------------------------------------------------------------------------------------- errors, not deaths


@pytest.mark.parametrize("reason", [["raise"], ["not_packable"], ["no such action"]])
def test_a_mistake_of_the_job_is_an_error_with_its_traceback(shared: Sandbox, reason: list[Any]) -> None:
    with pytest.raises(ExecutorError, match=r"(?s)sandbox_jobs:act failed:.*Traceback.*sandbox_"):
        shared.request(reason)
    assert shared.request(["count"]) == 1


@pytest.mark.parametrize("payload", [object(), 2**64, {1: {2}}])
def test_a_payload_that_cannot_be_packed_is_the_callers(shared: Sandbox, payload: Any) -> None:
    with pytest.raises((TypeError, OverflowError)):
        shared.request(payload)
    assert isinstance(shared.request(["count"]), int)


@pytest.mark.parametrize(
    ("job", "config", "message"),
    [
        ("act", {"import": "refuse"}, "target 'nowhere:Host': no module 'nowhere'"),
        ("act", {"import": "fail"}, "Host: RuntimeError: two lines"),
        ("act", {"import": "exit"}, "Host: SystemExit: 0"),
        ("act", {"import": "hang"}, f"importing Host did not end within {SHORT:g} s"),
        ("cannot_be_made", "refuse", "host:Host gives no instance: it has no method 'Done'"),
        pytest.param("act", {"import": "crash"}, "importing Host ended with SIGSEGV", marks=posix),
        pytest.param("cannot_be_made", "crash", "making Host ended with SIGABRT", marks=posix),
    ],
)
def test_a_target_that_cannot_be_set_up(job: str, config: Any, message: str) -> None:
    limit = SHORT if "within" in message else PATIENCE
    with sandbox(job, config, name="Host", setup_timeout=limit) as box:
        for _ in range(2):
            with pytest.raises(SynctapeError) as caught:
                box.request(None)
            assert str(caught.value) == message
            assert not isinstance(caught.value, ExecutorError)


@pytest.mark.parametrize("job", ["sandbox_jobs:nothing", "no_such_module:job", "sandbox_jobs", ""])
def test_no_such_job(job: str) -> None:
    with Sandbox(job, path=[HERE]) as box, pytest.raises(ExecutorError, match=r"^no job [^\n]*$"):
        box.start()


def test_no_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(Path(HERE, "no-python")))
    with sandbox() as box, pytest.raises(ExecutorError, match=r"^cannot start .*no-python"):
        box.start()


@posix
def test_an_interpreter_that_finds_no_synctape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if "site-packages" not in entry])
    with sandbox() as box, pytest.raises(ExecutorError, match=r"did not start: exit code 1: .*No module named"):
        box.start()


def test_a_child_that_starts_meanwhile_is_the_one_that_answers() -> None:
    with sandbox() as box:
        box.prepare()
        box.prepare()
        assert isinstance(box.request(["count"]), int)
    box.prepare()
    with pytest.raises(ExecutorError, match="is closed"):
        box.request(["count"])


def test_what_goes_wrong_while_a_child_starts_is_told_when_it_is_asked() -> None:
    with sandbox("missing") as box:
        box.prepare()
        with pytest.raises(ExecutorError, match="no job"):
            box.request(["count"])


@linux
def test_a_child_that_was_only_prepared_is_ended() -> None:
    def children() -> set[str]:
        return set(Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split())

    box, before = sandbox(), children()
    box.prepare()
    (child,) = children() - before
    box.close()
    assert not exists(int(child))


def test_a_closed_sandbox() -> None:
    box = sandbox()
    box.close()
    box.close()
    with pytest.raises(ExecutorError, match="closed"):
        box.request(["count"])


# ------------------------------------------------------------------------------------------- nothing is left


@linux
@pytest.mark.parametrize("action", ["leave_process", "leave_fork"])
def test_close_ends_what_the_target_started(action: str) -> None:
    with sandbox() as box:
        pids = [box.request([action]), *box.request(["pids"])]
        assert all(map(exists, pids))
    until(lambda: not any(map(exists, pids)))


@linux
@pytest.mark.parametrize("action", ["leave_process", "leave_fork"])
@pytest.mark.parametrize("config", [None, {"import": "thread"}], ids=["forked", "plain"])
def test_a_worker_takes_along_what_it_started(action: str, config: Any) -> None:
    with sandbox(config=config) as box:
        pid = box.request([action])
        assert box.request(["read_null"]).detail == "SIGSEGV"
        until(lambda: not exists(pid))


@linux
@pytest.mark.parametrize("config", [None, {"import": "thread"}], ids=["forked", "plain"])
def test_an_interrupt_ends_the_child(config: Any) -> None:
    if sys.platform == "win32":
        raise NotImplementedError
    with sandbox(config=config) as box:
        pids = [pid for pid in box.request(["pids"]) if pid != os.getpid()]
        timer = threading.Timer(SHORT / 2, signal.pthread_kill, (threading.get_ident(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            box.request(["hold_interpreter"], timeout=PATIENCE)
        timer.join()
        assert not any(map(exists, pids))
        assert box.request(["count"]) == 1


ORPHAN = """
    import sys
    from replayer.sandbox import Sandbox
    box = Sandbox("sandbox_jobs:act", {config!r}, path=[{here!r}], timeout=3600)
    print(*box.request(["pids"]), flush=True)
    box.request(["hold_interpreter"])
"""


@linux
@pytest.mark.parametrize("config", [None, {"import": "thread"}], ids=["forked", "plain"])
def test_the_child_does_not_outlive_the_parent(config: Any, tmp_path: Path) -> None:
    script = textwrap.dedent(ORPHAN.format(config=config, here=HERE))
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        assert parent.stdout is not None
        pids = {int(pid) for pid in parent.stdout.readline().split()} - {parent.pid}
        assert all(map(exists, pids))
        parent.kill()
    until(lambda: not any(map(exists, pids)))
    if config is None:  # the template cleans up where the parent could not
        until(lambda: not any(tmp_path.iterdir()))


@linux
def test_an_importing_child_does_not_outlive_the_parent(tmp_path: Path) -> None:
    """There is no template yet to see to that."""
    note = tmp_path / "importing"
    script = textwrap.dedent(ORPHAN.format(config={"import": "hang", "note": str(note)}, here=HERE))
    with subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "TMPDIR": str(tmp_path)}) as parent:
        until(lambda: note.exists() and bool(note.read_text()))
        child = int(note.read_text())
        assert exists(child)
        parent.kill()
    until(lambda: not exists(child))


def test_an_importing_child_does_not_outlive_the_sandbox() -> None:
    """Nor does it hold it up."""
    box = sandbox(config={"import": "hang"}, setup_timeout=SHORT)
    with pytest.raises(SynctapeError):
        box.start()
    began = time.monotonic()
    box.close()
    assert time.monotonic() - began < PATIENCE / 2


def crash(box: Sandbox, times: int) -> None:
    for number in range(times):
        assert box.request(["read_null", number, 1]).position == (number, 1)


def resources() -> tuple[int, list[str]]:
    """How many descriptors this process has, and which children."""
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
    return len(os.listdir("/proc/self/fd")), children


def resident(pid: int | str) -> int:
    """KiB of memory that a process has."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


@linux
def test_crashes_leave_nothing() -> None:
    gc.collect()
    before = resources()
    with sandbox() as box:
        crash(box, 1)
        with_box = resources()
        crash(box, 50)
        assert resources() == with_box
    assert resources() == before


@linux
@pytest.mark.slow
@pytest.mark.parametrize(("config", "times"), [(None, 1000), ({"import": "thread"}, 100)], ids=["forked", "plain"])
def test_many_crashes_leave_nothing(config: Any, times: int) -> None:
    before = resources()
    with sandbox(config=config) as box:
        crash(box, 50)
        template = box.request(["pids"])[1]
        descriptors = os.listdir(f"/proc/{template}/fd")
        memory = resident("self"), resident(template)
        crash(box, times)
        assert resident("self") < memory[0] + 2048
        assert resident(template) < memory[1] + 2048
        box.request(["count"])
        assert os.listdir(f"/proc/{template}/fd") == descriptors
        assert len(resources()[1]) <= len(before[1]) + 1
    assert resources() == before


# ------------------------------------------------------------------------------------------------- environment


def jobs_environment(log: str, base: Mapping[str, str]) -> dict[str, str]:
    assert "PATH" in base
    return {"SANDBOX_JOBS": log}


def test_an_added_variable_is_there_on_import_and_then_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    with sandbox(environment=jobs_environment) as box:
        on_import, later = box.request(["environment"])
        assert on_import.endswith("report") and later is None
        assert "SANDBOX_JOBS" not in os.environ
    monkeypatch.setenv("SANDBOX_JOBS", "mine")
    with sandbox(environment=jobs_environment) as box:
        assert box.request(["environment"])[1] == "mine"


def test_what_the_environment_raises_is_why_there_is_no_child() -> None:
    def refuse(log: str, base: Mapping[str, str]) -> dict[str, str]:
        raise SynctapeError("no runtime")

    with sandbox(environment=refuse) as box, pytest.raises(SynctapeError, match=r"^no runtime$"):
        box.start()


@posix
def test_a_report_belongs_to_the_death_after_it_only() -> None:
    with sandbox(environment=jobs_environment) as box:
        death = box.request(["report", "==1==ERROR: AddressSanitizer: SEGV", 0.0])
        assert isinstance(death, Death)
        assert (death.detail, death.report) == ("SIGABRT", "==1==ERROR: AddressSanitizer: SEGV")
        death = box.request(["report", "", 0.0])
        assert isinstance(death, Death)
        assert (death.detail, death.report) == ("SIGABRT", "")


@posix
def test_a_report_that_takes_long_is_waited_for() -> None:
    with sandbox(environment=jobs_environment, timeout=SHORT) as box:
        death = box.request(["report", "==1==ERROR: AddressSanitizer: SEGV", 5 * SHORT])
        assert isinstance(death, Death)
        assert (death.kind, death.detail) == (OutcomeKind.CRASHED, "SIGABRT")


@posix
def test_a_runtime_without_memory_is_not_waited_for() -> None:
    text = "==1==ERROR: AddressSanitizer: allocator is out of memory trying to allocate 0x1000 bytes"
    started = time.monotonic()
    with sandbox(environment=jobs_environment, memory=900) as box:
        death = box.request(["report", text, 60.0])
        assert isinstance(death, Death)
        assert (death.kind, death.detail) == (OutcomeKind.CRASHED, "memory limit of 900 MiB")
    assert time.monotonic() < started + PATIENCE
