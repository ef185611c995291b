"""pytest plugin: every `*.tape` below the collected paths is a test of the target.

    pytest --synctape-target package.module:factory tests/regressions

Each option can stand in the ini file instead, as synctape_target and so on.  Without a target the plugin does
nothing and imports nothing of synctape.  The target is played in one child process per session (per worker of
pytest-xdist), which is replaced when the target kills it.
"""

from __future__ import annotations

import os
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from recorder.interface import Interface
    from replayer.isolation import Player
    from replayer.verdict import Judging, Verdict

__all__ = ["TapeFile", "TapeItem", "pytest_addoption", "pytest_configure"]

_SUFFIX = ".tape"
_LEVELS = ("conforming", "lenient", "hostile")


@dataclass(frozen=True)
class _Setting:
    """An option --synctape-NAME and an ini value synctape_NAME."""

    name: str
    help: str
    default: Any
    metavar: str | None = None

    @property
    def ini(self) -> str:
        return f"synctape_{self.name.replace('-', '_')}"

    def add(self, parser: pytest.Parser, group: pytest.OptionGroup) -> None:
        option = f"--synctape-{self.name}"
        if isinstance(self.default, bool):
            group.addoption(option, dest=self.ini, default=None, help=self.help, action="store_true")
            parser.addini(self.ini, self.help, type="bool", default=self.default)
        else:
            group.addoption(option, dest=self.ini, default=None, help=self.help, metavar=self.metavar)
            parser.addini(self.ini, self.help, type="string", default=self.default)

    def value(self, config: pytest.Config) -> Any:
        given = config.getoption(self.ini)
        return config.getini(self.ini) if given is None else given


_TARGET = _Setting("target", "play every *.tape on package.module:factory or path/library.so:symbol", "", "TARGET")
_LEVEL = _Setting(
    "level", "findings on calls beyond conforming, lenient or hostile fail nothing", "hostile", "LEVEL"
)
_TIMEOUT = _Setting("timeout", "seconds after which a call hangs", "5", "SECONDS")
_INTERFACE = _Setting("interface", "use the target as NAME or module:NAME, whatever the traces say", "", "NAME")
_IN_PROCESS = _Setting("in-process", "play in this process instead of a child", False)
_MATCH_RESULTS = _Setting("match-results", "an answer that differs from the recorded one is a finding", False)

_SETTINGS = (_TARGET, _LEVEL, _TIMEOUT, _INTERFACE, _IN_PROCESS, _MATCH_RESULTS)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("synctape", "replay of recorded COM callback traces")
    for setting in _SETTINGS:
        setting.add(parser, group)


def pytest_configure(config: pytest.Config) -> None:
    if _TARGET.value(config):
        config.pluginmanager.register(_Replay(config), "synctape-replay")


class _Replay:
    """What lasts for a session with a target: what was asked for, and the players, one for each interface."""

    def __init__(self, config: pytest.Config):
        self._config = config
        self._target = _located(_TARGET.value(config), config)
        self._timeout = _seconds(_TIMEOUT.value(config))
        self._judging = _judging(config)
        self._players: dict[str, Player] = {}

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
        if file_path.suffix != _SUFFIX:
            return None
        tape: TapeFile = TapeFile.from_parent(parent, path=file_path, replay=self)
        return tape

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """pytest-xdist's controller collects nothing: it sees whether the target loads, before any worker does."""
        if self._config.getoption("dist", "no") != "no" and not self._is_worker:
            from recorder.interfaces import IUNKNOWN

            nothing = type(IUNKNOWN)("IUnknown", IUNKNOWN.iid, (), base=IUNKNOWN)
            self._require(self._declared() or nothing)
            self.close()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        tapes = [item.path for item in session.items if isinstance(item, TapeItem)]
        if tapes and not self._is_worker:
            from replayer.corpus import recorded_interface

            self._require(self._declared() or recorded_interface(tapes))

    def pytest_unconfigure(self) -> None:
        self.close()

    @property
    def _is_worker(self) -> bool:
        return hasattr(self._config, "workerinput")

    def replay(self, path: Path, name: str) -> Verdict:
        """Raises ExecutorError if there is no child to play in."""
        from replayer.corpus import recorded_interface
        from replayer.verdict import replay_file

        interface = self._declared() or recorded_interface([path])
        return replay_file(path, self._player(interface), self._judging, name=name, warn=lambda line: None)

    def command(self, path: Path) -> str:
        """The command that replays one trace, for the folder that pytest was started in."""
        from replayer.reports import reproduce_line

        changed = [s for s in (_TIMEOUT, _INTERFACE) if s.value(self._config) != s.default]
        options = [word for s in changed for word in (f"--{s.name}", s.value(self._config))]
        if self._judging.match_results:
            options.append("--match-results")
        start = self._config.invocation_params.dir
        shown = path.relative_to(start) if path.is_relative_to(start) else path
        return reproduce_line(shown, self._target, options)

    def close(self) -> None:
        while self._players:
            self._players.popitem()[1].close()

    def _declared(self) -> Interface | None:
        """The interface that the options name, None if the traces decide."""
        from recorder.errors import SynctapeError
        from recorder.interfaces import find_interface

        name = _INTERFACE.value(self._config)
        try:
            return find_interface(name) if name else None
        except SynctapeError as error:
            raise pytest.UsageError(f"synctape: {error}") from None

    def _require(self, interface: Interface) -> None:
        from recorder.errors import SynctapeError
        from replayer.verdict import require_target

        try:
            require_target(self._player(interface))
        except SynctapeError as error:
            raise pytest.UsageError(f"synctape: {error}") from None

    def _player(self, interface: Interface) -> Player:
        from replayer.isolation import Limits, open_player
        from replayer.player import PlayOptions

        if interface.iid not in self._players:
            self._players[interface.iid] = open_player(
                self._target,
                interface,
                isolate=not _IN_PROCESS.value(self._config),
                options=PlayOptions(collect=2),
                limits=Limits(self._timeout),
            )
        return self._players[interface.iid]


class TapeFile(pytest.File):
    """A trace file; it holds one item."""

    def __init__(self, *, replay: _Replay, **kwargs: Any):
        super().__init__(**kwargs)
        self.replay = replay

    def collect(self) -> Iterator[TapeItem]:
        yield TapeItem.from_parent(self, name="replay", replay=self.replay)


class TapeItem(pytest.Item):
    """Passes for PASSED and FIXED, fails for FAILED and ERROR."""

    def __init__(self, *, replay: _Replay, **kwargs: Any):
        super().__init__(**kwargs)
        self._replay = replay

    def runtest(self) -> None:
        from replayer.verdict import Status

        verdict = self._replay.replay(self.path, self._title)
        self.user_properties.append(("synctape", verdict.status.value))
        self.user_properties += [("synctape-finding", f"{f.code} {f.fingerprint}") for f in verdict.findings]
        if verdict.status in (Status.FAILED, Status.ERROR):
            raise TapeFailure(verdict, self._replay.command(self.path))
        if remarks := list(_remarks(verdict)):
            self.add_report_section("call", "synctape", "\n".join(remarks))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What was found, for which calls, without a traceback of ours."""
        from recorder.errors import SynctapeError

        if isinstance(excinfo.value, TapeFailure):
            return _Shown(excinfo.value.summary, excinfo.value.text)
        if isinstance(excinfo.value, SynctapeError):
            return f"synctape: {excinfo.value}"
        return super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, self._title

    @property
    def _title(self) -> str:
        """The path below the root folder: stable from machine to machine."""
        return self.nodeid.rpartition("::")[0]


class TapeFailure(Exception):
    """A trace is FAILED or an ERROR."""

    def __init__(self, verdict: Verdict, command: str):
        from recorder.report_files import shown
        from replayer.reports import failure_text

        if verdict.findings:
            self.summary = (
                f"{', '.join(dict.fromkeys(f.code for f in verdict.findings))}: {verdict.findings[0].message}"
            )
            self.text = failure_text(verdict, command)
        else:
            self.summary = f"could not be replayed: {shown(verdict.message)}"
            self.text = f"{self.summary}\n\nreplay it: {command}"
        super().__init__(self.summary)


class _Shown:
    """A failure as pytest prints it: the text in the report, the summary in the last lines."""

    def __init__(self, summary: str, text: str):
        self.reprcrash = types.SimpleNamespace(message=summary)
        self._text = text

    def __str__(self) -> str:
        return self._text

    def toterminal(self, writer: Any) -> None:
        for line in self._text.splitlines():
            writer.line(line, bold=line.startswith(">"), red=line.startswith(">"))


def _remarks(verdict: Verdict) -> Iterator[str]:
    if verdict.message:
        yield f"{verdict.status.name}: {verdict.message}"
    for finding in verdict.beyond:
        yield f"note: {finding.code} ({finding.level}) {finding.message}"
    yield from verdict.notes


def _located(target: str, config: pytest.Config) -> str:
    """A library that the ini file names is sought beside that file."""
    from replayer.target import is_library_spec

    if config.getoption(_TARGET.ini) is None and is_library_spec(target) and not os.path.isabs(target):
        return os.path.join(config.rootpath, target)
    return target


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise pytest.UsageError(f"synctape: timeout {text!r} is no number of seconds above 0")
    return seconds


def _judging(config: pytest.Config) -> Judging:
    from recorder.contract import Level
    from replayer.verdict import Judging

    name = _LEVEL.value(config)
    if name not in _LEVELS:
        raise pytest.UsageError(f"synctape: level {name!r} is none of {', '.join(_LEVELS)}")
    return Judging(Level[name.upper()], match_results=_MATCH_RESULTS.value(config))
