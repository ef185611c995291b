"""What a redacted trace keeps, and that no word of the original is anywhere in its file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from sequences import save

from recorder.calls import Call, Enter, Handle, Header, Leave, Opaque, Outcome, OutcomeKind, Thread, Trace
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK as SYNC
from recorder.provenance import problems
from recorder.redaction import Mode, Redaction, redact_file, redacted
from recorder.text import to_text
from recorder.trace import dump_trace, read_trace
from recorder.trace_input import TraceInput
from synctape import main

KEY = b"a key of this test, and of no trace"
SECRETS = ("Harry", "Vertrag", "pstfile", "geheim", "Договор", "契約書", "1984harry", "Küchler")


def call(number: int, method: str, *args: Any, outcome: Outcome | None = None) -> list[Any]:
    leave = [] if outcome is None else [Leave(number, outcome)]
    return [Enter(number, Call(method, args, 0, 1024 * number)), *leave]


def telling() -> Trace:
    """A trace with a secret in every place that has room for one."""
    events = [
        *call(0, "Progress", "Harry: Vertrag 3 of 20", 3, 20, outcome=Outcome(elapsed_ns=2048)),
        *call(1, "Progress", "Договор с Küchler", 4, 20, outcome=Outcome(value="geheim")),
        *call(2, "Progress", b"geheim 17", 5, 20, outcome=Outcome(value=Opaque("Harry", "<Vertrag 5>"))),
        *call(3, "Progress", Opaque("list", "['geheim']"), 5, "契約書", 7, "Harry", outcome=Outcome()),
        *call(
            4,
            "Error",
            -2147467259,
            "Harry" * 400,
            outcome=Outcome(OutcomeKind.RAISED, None, 0, "ValueError: no geheim 4", "Vertrag.py:12 in Harry"),
        ),
        *call(
            5,
            "Error",
            -2147467259,
            "a",
            outcome=Outcome(OutcomeKind.RAISED, None, 0, "geheim.Harry: Vertrag", "pstfile.py:7 in Error"),
        ),
        *call(6, "QueryInterface", "{00000000-0000-0000-c000-000000000046}", outcome=Outcome()),
        *call(7, "QueryInterface", "Harry", outcome=Outcome(outputs=(Handle(2), "geheim"))),
        *call(8, "Done", Handle(0), 0, outcome=Outcome(OutcomeKind.CRASHED, None, 0, "SIGSEGV", "")),
        *call(9, "Done", None, 0),
    ]
    header = Header(
        created_ns=10**18,
        sync_flags=0x82,
        process={
            "pid": 4711,
            "program": "pstfile-Harry.py",
            "python": "3.12.1",
            "system": "linux",
            "machine": "geheim",
            "tty": ["stdin", "Harry"],
            "encodings": {"stdout": "utf-8", "locale": "geheim"},
            "Vertrag": 1,
        },
        target={"spec": "geheim:Harry", "answers": {"Progress": [0, 1]}, "version": "1.2.3"},
        provenance={
            "kind": "merged",
            "was": "mutated",
            "sources": [{"name": "Harry", "digest": "0123456789abcdef"}],
            "parents": [{"name": "Vertrag", "digest": "abcdefabcdefabcd"}],
            "mutators": ["geheim"],
            "seed": 7,
            "finding": {"code": "X3", "method": "Done", "message": "Harry", "fingerprint": "abcdefabcdef"},
        },
        extra={"Vertrag": {"geheim": ["Harry", b"Harry", 5]}, "future": "Harry"},
    )
    return Trace(header, tuple(events), (Thread(4711, "Harry's thread"), Thread(5, "MainThread")))


def encoded(words: tuple[str, ...]) -> list[bytes]:
    return [
        form.encode(code) for word in words for form in (word, word.lower()) for code in ("utf-8", "utf-16-le")
    ]


@pytest.mark.parametrize("mode", Mode)
def test_no_word_is_anywhere_in_the_file(tmp_path: Path, mode: Mode) -> None:
    original = telling()
    path = save(tmp_path, "in", original)
    assert all(secret.encode() in path.read_bytes() for secret in SECRETS if secret not in ("1984harry",))
    redact_file(TraceInput(path), tmp_path / "out.tape", Redaction(mode))
    data = (tmp_path / "out.tape").read_bytes()
    for secret in [*encoded(SECRETS), b"0123456789abcdef", b"abcdefabcdef"]:
        assert secret not in data and secret.lower() not in data.lower()
    assert b"future" not in data
    assert read_trace(tmp_path / "out.tape").header.redaction == mode.value


def test_all_else_stays() -> None:
    original, new = telling(), redacted(telling(), Redaction(key=KEY))
    assert [c.method for c in new.calls] == [c.method for c in original.calls]
    assert [(c.thread, c.time_ns) for c in new.calls] == [(c.thread, c.time_ns) for c in original.calls]
    for (_, was, before), (_, now, after) in zip(original.played, new.played, strict=True):
        for one, other in zip(was.args, now.args, strict=True):
            assert type(one) is type(other)
            if not isinstance(one, str | bytes | Opaque):
                assert one == other
        if before is None or after is None:
            assert before is after
        else:
            assert (before.kind, before.elapsed_ns, len(before.outputs)) == (
                after.kind,
                after.elapsed_ns,
                len(after.outputs),
            )
    assert new.calls[6].args == original.calls[6].args  # an IID
    outcomes = [played.outcome for played in new.played if played.outcome]
    assert re.fullmatch(r"ValueError: [a-z]{2} [a-z]{6} 4", outcomes[4].detail)
    assert re.fullmatch(r"[A-Z][a-z]{6}\.py:12 in [A-Z][a-z]{4}", outcomes[4].place)
    assert outcomes[5].place.endswith(".py:7 in Error")
    assert outcomes[8].detail == "SIGSEGV"
    assert isinstance(new.calls[3].args[0], Opaque) and new.calls[3].args[0].type == "list"
    header = new.header
    assert (header.created_ns, header.sync_flags, header.interface) == (10**18, 0x82, SYNC)
    assert header.process["python"] == "3.12.1" and header.process["system"] == "linux"
    assert header.process["tty"][0] == "stdin" and header.process["encodings"]["stdout"] == "utf-8"
    assert header.target["answers"] == {"Progress": [0, 1]} and header.target["version"] == "1.2.3"
    assert header.provenance["finding"]["code"] == "X3" and header.provenance["finding"]["method"] == "Done"
    assert not problems(header.provenance)
    assert new.threads[1].name == "MainThread"


def test_strict_once_is_strict_for_good() -> None:
    strict = redacted(telling(), Redaction(Mode.STRICT))
    assert redacted(strict, Redaction(Mode.TEXTS)).header.redaction == "strict"


def test_what_nobody_knows_is_left_out(tmp_path: Path) -> None:
    """Records of later versions, what follows the end or damage, and why recording stopped."""
    from recorder.encoding import checked, end_record

    whole = dump_trace(telling())
    body = whole[:-10]
    import msgpack

    later = checked(msgpack.packb([7, "Harry in a record of a later version"]))
    for data in (
        body + later + end_record(0, None),
        whole + b"Harry",
        body + end_record(0, "Harry has no space left"),
        body + b"\x93Harry",
    ):
        (tmp_path / "in.tape").write_bytes(data)
        trace = TraceInput(tmp_path / "in.tape")
        redact_file(trace, tmp_path / "out.tape", Redaction(), overwrite=True)
        assert trace.damage
        out = (tmp_path / "out.tape").read_bytes()
        assert b"Harry" not in out
        assert len(read_trace(tmp_path / "out.tape").calls) == 10


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(st.sampled_from("ab ABc\ud800\udc00é1"), max_size=4), min_size=2, max_size=6))
def test_equal_texts_of_a_trace_stay_equal(texts: list[str]) -> None:
    texts = [t.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass") for t in texts]
    new = redacted(Trace.from_calls([Call("Progress", (t, 0, 0)) for t in texts]), Redaction())
    now = [c.args[0] for c in new.calls]
    assert [texts.index(t) for t in texts] == [now.index(t) for t in now]


# --- the command ------------------------------------------------------------------------------------------------


def run(*arguments: object) -> Any:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_file(tmp_path: Path) -> None:
    path = save(tmp_path, "in", telling())
    done = run("redact", path, "-o", tmp_path / "out.tape", "--strict")
    assert done.exit_code == 0 and "words and digits replaced" in done.stdout
    assert read_trace(path).header.redaction is None
    shown = run("show", tmp_path / "out.tape").stdout
    assert "redaction   strict: words and digits in texts are replaced" in shown
    assert run("redact", path, "-o", tmp_path / "out.tape").exit_code == 2  # it is there
    assert run("redact", path, "-o", tmp_path / "out.tape", "--force").exit_code == 0
    assert "redaction   texts: words are replaced" in run("show", tmp_path / "out.tape").stdout
    assert run("redact", path, "-o", path, "--force").exit_code == 2
    assert read_trace(path).header.redaction is None


def test_a_folder_and_the_text_form(tmp_path: Path) -> None:
    save(tmp_path / "in" / "deep", "one", telling())
    (tmp_path / "in" / "two.tape").write_text(to_text(telling()) + "# Harry wrote this\n", "utf-8")
    (tmp_path / "in" / "bad.tape").write_bytes(b"no trace")
    done = run("redact", tmp_path / "in", "-o", tmp_path / "out")
    assert done.exit_code == 2 and done.stderr.count("\n") == 1 and "bad.tape" in done.stderr
    written = sorted(
        p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file()
    )
    assert written == ["deep/one.tape", "two.tape"]
    assert b"Harry" not in (tmp_path / "out" / "two.tape").read_bytes()


def test_damage_is_told(tmp_path: Path) -> None:
    path = tmp_path / "in.tape"
    path.write_bytes(dump_trace(telling())[:-30])
    done = run("redact", path, "-o", tmp_path / "out.tape")
    assert done.exit_code == 0 and "warning" in done.stderr
    assert len(read_trace(tmp_path / "out.tape").calls) > 5


PROVIDER = """
import threading

def sync(callback):
    thread = threading.Thread(target=work, args=(callback,), name="Vertrag thread")
    thread.start()
    thread.join()

def work(callback):
    for number in range(3):
        callback.Progress("Harry: Vertrag 1984", number, 3)
        callback.Progress(text="geheim", index=number, maximum=70000)
    callback.Done(None, 0)

class Host:
    def Progress(self, text, index, maximum):
        if index == 2:
            raise KeyError("geheim")
        return 0
    def Error(self, result, text): return 0
    def Done(self, handle, result): return 0
"""


@pytest.mark.parametrize("option", ["--redact", "--redact=strict"])
@pytest.mark.parametrize("more", [(), ("--max-size", "1M"), ("--sync", "call")], ids=" ".join)
def test_recorded_without_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, more: tuple[str, ...]
) -> None:
    (tmp_path / "vertrag.py").write_text(PROVIDER, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["Harry"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "vertrag", raising=False)
    done = run("record", option, "vertrag:sync", "--forward", "vertrag:Host", "-o", "run.tape", *more)
    assert done.exit_code in (0, 1) and list(
        tmp_path.glob("run*.tape")
    )  # 1: the host's exception ends the provider
    for path in tmp_path.glob("run*.tape"):
        trace, data = read_trace(path), path.read_bytes()
        assert trace.header.redaction == ("strict" if "strict" in option else "texts")
        assert not [secret for secret in encoded((*SECRETS, "vertrag")) if secret.lower() in data.lower()]
        texts = [c.args[0] for c in trace.calls if isinstance(c.args[0], str)]
        pattern = r"[A-Z][a-z]{4}: [A-Z][a-z]{6} \d{4}"
        assert len(texts) == 5 and len(set(texts)) == 2 and re.fullmatch(pattern, texts[0])
        assert ("1984" in texts[0]) == (trace.header.redaction == "texts")
        last = trace.played[-1].outcome
        assert last is not None and last.detail.startswith("KeyError: ")


def test_redact_alone_takes_no_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "Invalid value for '--redact'" in run("record", "a:b", "-o", "x.tape", "--redact=most").stderr
    assert "no module 'nosuch'" in run("record", "--redact", "nosuch:provider", "-o", "x.tape").stderr


def test_why_recording_stopped_is_told_without_words(tmp_path: Path) -> None:
    class Failing(Redaction):
        def argument(self, kind: Any, value: Any) -> Any:
            raise ValueError("geheim")

    from recorder.callback import RecordingCallback

    callback = RecordingCallback(None, tmp_path / "run.tape", redact=Failing())
    with callback, pytest.warns(RuntimeWarning, match="recording stopped"):
        callback.Progress("geheim", 0, 1)
    assert b"geheim" not in (tmp_path / "run.tape").read_bytes()
    damage = read_trace(tmp_path / "run.tape").damage
    assert damage is not None and "ValueError" in damage.reason


@pytest.mark.slow
def test_the_files_of_a_recording_become_those_of_one(tmp_path: Path) -> None:
    from recorder.callback import RecordingCallback
    from recorder.session import LEAST, Bounds

    (tmp_path / "in").mkdir()
    with RecordingCallback(None, tmp_path / "in" / "run.tape", bounds=Bounds(LEAST)) as callback:
        for number in range(6000):
            callback.Progress("Vertrag", number, 6000)
    assert run("redact", tmp_path / "in", "-o", tmp_path / "out").exit_code == 0
    written = sorted((tmp_path / "out").glob("*.tape"))
    assert len(written) > 1
    assert len({read_trace(path).header.provenance["session"]["id"] for path in written}) == 1
    assert len({call.args[0] for path in written for call in read_trace(path).calls}) == 1
    assert TraceInput(tmp_path / "out" / "run.tape").damage is None


@pytest.mark.slow
def test_a_large_trace_takes_little_memory(tmp_path: Path) -> None:
    calls = [Call("Progress", (f"message {n % 1000} of 20000", n, 20_000), 0, 1024 * n) for n in range(20_000)]
    path = save(tmp_path, "in", Trace.from_calls(calls))
    program = (
        "import tracemalloc; from recorder.redaction import *; from recorder.trace_input import TraceInput;"
        "import sys; tracemalloc.start(); redact_file(TraceInput(sys.argv[1]), sys.argv[2], Redaction());"
        "print(tracemalloc.get_traced_memory()[1])"
    )
    command = [sys.executable, "-c", program, str(path), str(tmp_path / "out.tape")]
    peak = int(subprocess.run(command, capture_output=True, check=True, env=os.environ).stdout)
    assert peak < 8 << 20
