"""What a trace shows on a target: code, steps of the protocol, answers, states; and a death where it kills."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sequences import CALLBACK, GOOD, trace

from fuzz.features import Features, Seen, Shower
from recorder.calls import OutcomeKind, Trace
from replayer.isolation import Limits
from replayer.sandbox import Death
from replayer.target import TargetError


@pytest.fixture(scope="module")
def shower() -> Iterator[Shower]:
    with Shower("targets.two_bugs:Host", CALLBACK) as shower:
        yield shower


def words(shower: Shower, *traces: Trace) -> list[frozenset[str]]:
    seen = [shower.show(one) for one in traces]
    features = Features()
    assert all(isinstance(one, Seen) for one in seen)
    features.learn(one for one in seen if isinstance(one, Seen))
    return [features.of(one) for one in seen if isinstance(one, Seen)]


def kind(found: frozenset[str], start: str) -> set[str]:
    return {word for word in found if word.startswith(start)}


def test_each_trace_shows_the_code_it_runs_through_whatever_ran_before(shower: Shower) -> None:
    plain, beyond = trace(*GOOD), trace("Progress(NULL, 3, 1)")
    first, second, again = words(shower, plain, beyond, plain)
    assert first == again
    assert kind(second, "code targets/two_bugs.py") - kind(first, "code")
    assert kind(first, "code targets/two_bugs.py") - kind(second, "code")
    shower.renew()
    assert words(shower, plain, beyond, plain) == [first, second, again]


def test_steps_of_the_protocol_and_what_calls_come_to(shower: Shower) -> None:
    late, raising = words(shower, trace(*GOOD, GOOD[-1]), trace("Progress(NULL, 0, 1)", "Progress(NULL, 3, 1)"))
    assert {"in bound: Progress", "in running: Done", "in finished: Done"} <= late
    assert "Progress 0 > Done 0" in late and " > Progress 0" in late
    (word,) = kind(raising, "Progress 0 > Progress raised")
    assert word.startswith("Progress 0 > Progress raised IndexError two_bugs.py:")


def test_the_states_between_the_calls(shower: Shower) -> None:
    quiet, failed = words(shower, trace(*GOOD), trace("Error(E_FAIL, NULL)"))
    assert "failed=True" in failed - quiet and "failed=False" in failed & quiet


@pytest.mark.slow
def test_code_of_other_packages_shows_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_library.py").write_text("def used(index):\n    return 1 if index else 0\n")
    host = "import their_library\n\n\nclass Host:\n    def Progress(self, text, index, maximum):\n"
    host += (
        "        their_library.used(index)\n        return 0\n\n    Error = Done = lambda self, one, other: 0\n"
    )
    (tmp_path / "my_host.py").write_text(host)
    monkeypatch.syspath_prepend(tmp_path)
    for cover, places in (((), {"my_host.py"}), (("their_library",), {"my_host.py", "their_library.py"})):
        with Shower("my_host:Host", CALLBACK, cover=cover) as shower:
            (found,) = words(shower, trace(*GOOD))
        assert {word.split()[1].partition(":")[0] for word in kind(found, "code ")} == places


def test_a_trace_that_kills_the_target_is_a_death_and_the_next_one_is_played() -> None:
    with Shower("targets.segfaults:Host", CALLBACK) as shower:
        dead, alive = shower.show(trace("Progress(NULL, 1, 0)")), shower.show(trace(*GOOD))
    assert isinstance(dead, Death) and dead.kind is OutcomeKind.CRASHED
    assert isinstance(alive, Seen) and len(alive.calls) == 4


@pytest.mark.slow
def test_a_hang_is_one_too() -> None:
    with Shower("targets.hangs_on_text:Host", CALLBACK, Limits(0.3)) as shower:
        dead = shower.show(trace('Progress("%s", 1, 2)'))
    assert isinstance(dead, Death) and dead.kind is OutcomeKind.HUNG


def test_a_target_that_gives_no_instance_is_an_error() -> None:
    with (
        Shower("targets.factory_fails:Host", CALLBACK) as shower,
        pytest.raises(TargetError, match="the factory raised"),
    ):
        shower.show(trace(*GOOD))


def seen(states: list[dict[str, Any]] | None = None, answers: list[Any] | None = None) -> Seen:
    return Seen((), tuple(states or ()), tuple(("running", "Progress", answer) for answer in answers or ()))


def test_a_state_of_few_values_counts_by_value_and_one_of_many_by_magnitude() -> None:
    features = Features()
    few, many = [seen([{"phase": n}]) for n in range(5)], [seen([{"count": n}]) for n in range(1000)]
    features.learn([*few, *many])
    assert len({features.of(one) for one in few}) == 5
    assert len({features.of(one) for one in many}) < 40


def test_many_answers_count_by_success_and_failure() -> None:
    features = Features()
    many = [seen(answers=[n]) for n in range(-100, 100)]
    features.learn(many)
    assert {word for one in many for word in features.of(one)} == {
        "in running: Progress",
        " > Progress failure",
        " > Progress success",
    }


@pytest.mark.native
@pytest.mark.skipif(sys.platform != "linux", reason="coverage of ELF libraries")
@pytest.mark.parametrize(
    "compiler",
    [
        "gcc -fsanitize-coverage=trace-pc,trace-cmp",
        "clang -fsanitize-coverage=trace-pc-guard,trace-cmp",
        "clang -fsanitize-coverage=inline-8bit-counters,pc-table",
    ],
)
def test_a_native_target_with_coverage_shows_its_code(compiler: str, tmp_path: Path) -> None:
    if shutil.which(compiler.split(maxsplit=1)[0]) is None:
        pytest.skip(f"no {compiler.split(maxsplit=1)[0]}")
    source = Path(__file__).parent.parent / "targets" / "native" / "good_host.c"
    options = ["-std=c99", "-g", "-O1", "-fPIC", "-shared", f"-I{source.parent}"]
    subprocess.run([*compiler.split(), *options, "-o", tmp_path / "host.so", source], check=True)
    plain, late = trace(*GOOD), trace('Error(E_FAIL, "x")', *GOOD, GOOD[0])
    with Shower(f"{tmp_path / 'host.so'}:create", CALLBACK) as shower:
        first, second, again = words(shower, plain, late, plain)
        assert first == again and kind(first, "code ") and kind(second, "code ") - kind(first, "code ")
        shower.renew()
        after, before = words(shower, late, plain)
    assert (before, after) == (first, second), "places mean the same in each process, whatever came first"


@pytest.mark.native
def test_a_native_target_that_names_its_state_shows_it(library: Any, tmp_path: Path) -> None:
    source = Path(__file__).parent.parent / "targets" / "native" / "deep.c"
    named = tmp_path / "named.c"
    says = "EXPORT uint64_t create_state(void *object) { return (uint64_t)((Host *)object)->stage; }"
    named.write_text(f"{source.read_text('utf-8')}\n{says}\n", "utf-8")
    with Shower(f"{library(named)}:create", CALLBACK) as shower:
        quiet, deeper = words(shower, trace(*GOOD), trace("Progress(NULL, 48879, 2)"))
    assert "state=0" in quiet and "state=1" in deeper


@pytest.mark.native
def test_a_native_target_shows_what_its_calls_come_to(library: Any) -> None:
    with Shower(f"{library('good_host')}:create", CALLBACK) as shower:
        (found,) = words(shower, trace(*GOOD))
    assert "Progress 0 > Done 0" in found and "in running: Done" in found
