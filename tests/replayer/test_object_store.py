"""Corpora in an object store: a real server of S3's protocol on 127.0.0.1, and the installed program."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sequences import GOOD, regression, save, trace

from recorder.errors import TraceError
from recorder.provenance import captured
from recorder.trace import dump_trace
from replayer.corpus import find_traces, load
from replayer.locations import open_folder

pytestmark = [pytest.mark.slow, pytest.mark.remote]

TESTS = Path(__file__).parent.parent
BUCKET = "s3://tapes"
ACCESS = {"AWS_ACCESS_KEY_ID": "us", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def store() -> Iterator[dict[str, str]]:
    """What the environment must say for the server's one bucket to be reached."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {**ACCESS, "AWS_ENDPOINT_URL": f"http://{host}:{port}", "NO_PROXY": "*"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        import boto3

        boto3.client("s3").create_bucket(Bucket="tapes")
        yield environment
    server.stop()


def run(environment: dict[str, str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    return subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-m", "synctape", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path, "PYTHONUTF8": "1", **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def test_what_is_written_there_is_read_from_there(store: dict[str, str]) -> None:
    folder = open_folder(f"{BUCKET}/a folder/Entwürfe")
    assert folder.names() == []
    for number in range(3):
        folder.write(f"deep/{number}.tape", dump_trace(trace(*GOOD, number=number)))
    files = find_traces([f"{BUCKET}/a folder"])
    assert [load(file).header.provenance["number"] for file in files] == [0, 1, 2]
    assert str(files[0]) == f"{BUCKET}/a folder/Entwürfe/deep/0.tape"
    with pytest.raises(TraceError, match=r"0\.tape: exists already; it is left as it is"):
        folder.write("deep/0.tape", b"")
    folder.write("deep/0.tape", b"anew", overwrite=True)
    assert folder.read("deep/0.tape") == b"anew"
    folder.remove("deep/0.tape")
    assert folder.names() == ["deep/1.tape", "deep/2.tape"]


def test_of_two_who_write_the_same_object_one_is_told(
    store: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one came between the look and the write."""
    import s3fs

    folder = open_folder(f"{BUCKET}/raced")
    folder.write("a.tape", b"theirs")
    monkeypatch.setattr(s3fs.S3FileSystem, "exists", lambda *args, **options: False)
    with pytest.raises(TraceError, match=r"a\.tape: exists already; it is left as it is"):
        folder.write("a.tape", b"ours")
    assert folder.read("a.tape") == b"theirs"


def test_a_large_object_appears_whole(store: dict[str, str]) -> None:
    """Larger than one part of an upload: nothing is there until the last one is."""
    folder, data = open_folder(f"{BUCKET}/large"), os.urandom(60 << 20)
    folder.write("large.bin", data)
    assert folder.read("large.bin") == data


def test_replay_and_fuzz_start_from_there(store: dict[str, str], tmp_path: Path) -> None:
    folder = open_folder(f"{BUCKET}/regressions")
    folder.write("good.tape", dump_trace(trace(*GOOD)))
    folder.write("late.tape", dump_trace(regression("X3", *GOOD, GOOD[0])))
    target = ("--target", "targets.raises_after_done:Host")
    done = run(store, "replay", f"{BUCKET}/regressions", *target)
    assert done.returncode == 1 and done.stderr == ""
    assert f"PASSED  {BUCKET}/regressions/good.tape" in done.stdout
    assert f"FAILED  {BUCKET}/regressions/late.tape" in done.stdout
    assert f"synctape replay {BUCKET}/regressions/late.tape --target" in done.stdout
    found = tmp_path / "findings"
    budget = ("--max-runs", "50", "--seed", "1", "--findings", found)
    done = run(store, "fuzz", "--corpus", f"{BUCKET}/regressions", *target, *budget)
    assert done.returncode == 1 and "played:     2 traces" in done.stdout and list(found.glob("*.tape"))


@pytest.mark.parametrize(
    ("url", "environment", "said"),
    [
        (f"{BUCKET}/nothing", {}, "no such file or folder"),
        ("s3://no-such-bucket/x", {}, "no such bucket"),
        (f"{BUCKET}/x", {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "cannot be reached: Could not connect"),
        (
            f"{BUCKET}/x",
            dict.fromkeys(ACCESS, "") | {"AWS_EC2_METADATA_DISABLED": "true", "HOME": os.devnull},
            "cannot be reached: Unable to locate credentials",
        ),
    ],
    ids=["no object", "no bucket", "no server", "no credentials"],
)
def test_what_cannot_be_reached_is_told_in_a_line(
    store: dict[str, str], url: str, environment: dict[str, str], said: str
) -> None:
    done = run({**store, **environment}, "replay", url, "--target", "targets.clean:Host")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"synctape: {url}: {said}") and done.stderr.count("\n") == 1


def test_a_trace_of_this_machine_and_one_of_the_store_are_one_corpus(
    store: dict[str, str], tmp_path: Path
) -> None:
    save(tmp_path, "here", trace(*GOOD))
    open_folder(f"{BUCKET}/mixed").write("there.tape", dump_trace(trace(*GOOD)))
    done = run(store, "replay", f"{BUCKET}/mixed", tmp_path, "--target", "targets.clean:Host")
    assert done.returncode == 0 and "2 traces: 2 passed" in done.stdout


def test_a_corpus_is_merged_verified_and_made_smaller_there(store: dict[str, str], tmp_path: Path) -> None:
    provenance = captured(provider="a:b")
    folder = open_folder(f"{BUCKET}/corpus")
    folder.write("good.tape", dump_trace(trace(*GOOD, **provenance)))
    folder.write("deep/long.tape", dump_trace(trace(GOOD[0], *GOOD[1:3] * 9, GOOD[3], **provenance)))
    save(tmp_path / "here", "killer", trace("Progress(NULL, 1, 0)", **provenance))
    out = open_folder(f"{BUCKET}/merged")
    done = run(store, "corpus", "merge", f"{BUCKET}/corpus", tmp_path / "here", "-o", str(out))
    assert done.returncode == 0 and done.stdout == f"3 of 3 traces kept, 25 calls: {BUCKET}/merged\n"
    assert out.names() == ["deep/long.tape", "good.tape", "killer.tape"]
    assert run(store, "corpus", "verify", str(out)).returncode == 0
    done = run(store, "corpus", "minimise", str(out), "--in-place", "--target", "targets.segfaults:Host")
    assert done.returncode == 0 and "1 of 3 traces kept, 4 calls (1 needless, 1 failures)" in done.stdout
    assert out.names() == ["good.tape"]
    assert out.beside("-removed").names() == ["deep/long.tape"]
    assert out.beside("-failures").names() == ["killer.tape"]
    out.write("torn.tape", dump_trace(trace(*GOOD, **provenance))[:-20])
    done = run(store, "corpus", "verify", str(out))
    assert done.returncode == 1 and f"{BUCKET}/merged/torn.tape: ends without an end record" in done.stdout
    assert '"traces": 2' in run(store, "corpus", "stats", str(out), "--json").stdout
