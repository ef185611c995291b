"""Objects of comtypes on either side: as targets, and behind a recording.  Windows alone has them."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    from pathlib import Path
    from typing import Any

    import pytest
    from sequences import CALLBACK, GOOD, trace
    from targets import comtypes_host

    from recorder import com
    from recorder.callback import RecordingCallback
    from recorder.recorded_pointer import record_pointer
    from recorder.trace import read_trace
    from replayer.isolation import Limits, open_player
    from replayer.oracles import Judge
    from replayer.player import Run

    OF_COMTYPES = ("H1", 0)
    """comtypes 1.4 leaves *ppv as it was when it refuses an interface (docs/findings.md)."""

    def findings(run: Run) -> list[tuple[str, int]]:
        return [(finding.code, finding.number) for finding in Judge.of(run.trace).findings(run)]

    def played(factory: str, *lines: str, isolate: bool = True) -> Run:
        spec = f"targets.comtypes_host:{factory}"
        with open_player(spec, isolate=isolate, limits=Limits(20)) as player:
            return player.play(trace(*lines))

    @pytest.mark.parametrize("isolate", [True, False])
    @pytest.mark.parametrize("factory", ["pointer", "server"])
    def test_a_correct_host_of_comtypes_passes(factory: str, isolate: bool) -> None:
        run = played(factory, *GOOD, isolate=isolate)
        assert [outcome.value if outcome else None for _, _, outcome in run.trace.played] == [0] * 4
        assert findings(run) == [OF_COMTYPES]

    def test_a_bug_of_a_host_of_comtypes_is_a_finding() -> None:
        """comtypes answers for an exception of its methods, so it is the answer that is found."""
        assert findings(played("fails_on_null", *GOOD)) == [OF_COMTYPES, ("H7", 1)]

    @pytest.fixture
    def host() -> comtypes_host.Host:
        return comtypes_host.Host()

    TOLD = [
        ("Progress", "Step \U0001f600", 1, 2),
        ("Progress", None, 2, 2),
        ("Error", -2147467259, "lost"),
        ("Done", False, 0),
    ]

    def call(callback: Any) -> None:
        assert callback.Progress("Step \U0001f600", 1, 2) == 0
        assert callback.Progress(None, 2, 2) == 0
        assert callback.Error(-2147467259, "lost") == 0
        assert callback.Done(None, 0) == 0

    def methods(path: Path) -> list[str]:
        return [c.method for c in read_trace(path).calls if c.method in ("Progress", "Error", "Done")]

    def test_a_pointer_of_comtypes_behind_a_recording_callback(host: comtypes_host.Host, tmp_path: Path) -> None:
        pointer = host.QueryInterface(comtypes_host.ISyncProgressCallback)
        with com.wrap(pointer, CALLBACK, add_ref=True) as inner:
            recording = RecordingCallback(inner, tmp_path / "run.tape")
            call(recording)
            recording.close()
        assert host.told == TOLD
        assert methods(tmp_path / "run.tape") == ["Progress", "Progress", "Error", "Done"]

    def test_a_pointer_of_comtypes_behind_a_recorded_pointer(host: comtypes_host.Host, tmp_path: Path) -> None:
        pointer = host.QueryInterface(comtypes_host.ISyncProgressCallback)
        with record_pointer(pointer, tmp_path / "run.tape") as recorded:
            call(com.wrap(recorded.pointer, CALLBACK))
        assert host.told == TOLD
        assert methods(tmp_path / "run.tape") == ["Progress", "Progress", "Error", "Done"]

    def test_comtypes_calls_a_recording(host: comtypes_host.Host, tmp_path: Path) -> None:
        """The other way: a provider that speaks comtypes calls what we expose."""
        from ctypes import POINTER, c_void_p, cast

        recording = RecordingCallback(None, tmp_path / "run.tape")
        with recording.expose() as exposed:
            com.wrap(exposed.pointer, CALLBACK).AddRef()  # comtypes gives it back
            call(cast(c_void_p(exposed.pointer), POINTER(comtypes_host.ISyncProgressCallback)))
        recording.close()
        assert methods(tmp_path / "run.tape") == ["Progress", "Progress", "Error", "Done"]
