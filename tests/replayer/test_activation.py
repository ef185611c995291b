"""Registered classes as targets: what a spec says, and on Windows a class of the system, played and refused."""

from __future__ import annotations

import sys

import pytest

from recorder.interface import Interface, Method, Parameter, Type
from recorder.interfaces import IUNKNOWN
from replayer.activation import is_class_spec
from replayer.target import TargetError, is_native_spec, load_target

DIALOG = "clsid:{f8383852-fcd3-11d1-a6b9-006097df5bd4}"
NOBODY = "clsid:{f8383852-fcd3-11d1-a6b9-006097df5b00}"

PROGRESS_DIALOG = Interface(
    "IProgressDialog",
    "{EBBC7C04-315E-11d2-B62F-006097DF5BD4}",
    (
        Method("StartProgressDialog", (Parameter("dwFlags", Type.U32),)),  # not called here: the rest is left out
        Method("StopProgressDialog"),
        Method("SetTitle", (Parameter("pwzTitle", Type.TEXT),)),
        Method("SetAnimation", (Parameter("idAnimation", Type.U32),)),
        Method("HasUserCancelled", returns=Type.BOOL),
        Method("SetProgress", (Parameter("dwCompleted", Type.U32), Parameter("dwTotal", Type.U32))),
    ),
    base=IUNKNOWN,
)


def problem(spec: str) -> str:
    with pytest.raises(TargetError) as told:
        load_target(spec, PROGRESS_DIALOG).instance()
    assert "\n" not in str(told.value)
    return str(told.value)


@pytest.mark.parametrize(
    "spec",
    [
        "clsid:",
        "clsid:ProgressDialog",
        "clsid:f8383852-fcd3-11d1-a6b9-006097df5bd4",
        DIALOG + "?",
        DIALOG + "?apartment=neutral",
        DIALOG + "?threads=2",
    ],
)
def test_a_spec_that_names_no_class(spec: str) -> None:
    assert f"target {spec}: write it as clsid:{{xxxxxxxx-" in problem(spec)


def test_a_class_is_native() -> None:
    assert is_class_spec(DIALOG) and is_native_spec(DIALOG)
    assert not is_class_spec("clsid.module:factory")


if sys.platform == "win32":
    from concurrent.futures import ThreadPoolExecutor

    from sequences import WINE

    from corpora import folder
    from recorder.text import parse_call
    from recorder.trace import read_trace
    from replayer.isolation import Limits, open_player
    from replayer.oracles import Judge
    from replayer.player import PlayOptions, Run

    CALLS = ('SetTitle("Sending")', "SetProgress(1, 2)", "HasUserCancelled()")
    APARTMENTS = ("", "?apartment=mta", "?apartment=sta")

    def play(spec: str, *lines: str, isolate: bool = True, threads: int = 1) -> Run:
        calls = [parse_call(line, PROGRESS_DIALOG) for line in lines or CALLS]
        calls = [type(c)(c.method, c.args, number % threads) for number, c in enumerate(calls)]
        with open_player(
            spec, PROGRESS_DIALOG, isolate=isolate, limits=Limits(20), options=PlayOptions()
        ) as player:
            return player.play(calls)

    def answers(run: Run) -> list[object]:
        return [outcome.value if outcome else None for _, _, outcome in run.trace.played]

    @pytest.mark.parametrize("apartment", APARTMENTS)
    @pytest.mark.parametrize("threads", [1, 2])
    def test_a_class_is_played_in_the_sandbox(apartment: str, threads: int) -> None:
        run = play(DIALOG + apartment, threads=threads)
        assert (answers(run), run.observations) == ([0, 0, 0], ())

    def test_a_thread_stays_in_its_apartment() -> None:
        """In this process, on a thread that nobody has put into an apartment yet."""
        with ThreadPoolExecutor(1) as fresh:
            assert answers(fresh.submit(play, DIALOG, isolate=False).result()) == [0, 0, 0]
            told = fresh.submit(problem, DIALOG + "?apartment=sta").result()
        assert "this thread is in an apartment of another kind than sta already" in told

    def test_a_class_that_is_not_registered() -> None:
        with ThreadPoolExecutor(1) as fresh:  # other tests may have put this thread into an apartment
            assert fresh.submit(problem, NOBODY).result() == (
                f"target {NOBODY}: no such class is registered here "
                "(CoCreateInstance answered 0x80040154 REGDB_E_CLASSNOTREG)"
            )
        with pytest.raises(TargetError, match="no such class is registered here"):
            play(NOBODY)

    def test_an_interface_that_the_class_does_not_have() -> None:
        other = Interface("IOther", "{00000000-1111-2222-3333-444444444444}", (Method("Do"),), base=IUNKNOWN)
        with pytest.raises(TargetError) as told, ThreadPoolExecutor(1) as fresh:
            fresh.submit(lambda: load_target(DIALOG, other).instance()).result()
        assert "the class does not speak IOther (CoCreateInstance answered 0x80004002 E_NOINTERFACE)" in str(
            told.value
        )
        assert str(told.value).endswith("add ?apartment=sta")

    if WINE:

        def test_what_was_found_in_wine_is_still_there() -> None:
            """docs/findings.md: without a display driver the dialog is waited for in vain."""
            kept = read_trace(folder("found") / "wine_progress_dialog_start.tape")
            with open_player(DIALOG, kept.header.interface, limits=Limits(1)) as player:
                (hang,) = Judge.of(kept).findings(player.play(kept))
            assert hang.code == kept.header.provenance["finding"]["code"] == "X2"

else:

    @pytest.mark.parametrize("spec", [DIALOG, DIALOG + "?apartment=sta", NOBODY])
    def test_elsewhere_there_are_no_classes(spec: str) -> None:
        assert problem(spec) == (
            f"target {spec}: classes are registered on Windows only; name a library as path/library.so:symbol"
        )
