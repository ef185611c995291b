"""Redaction: a trace without the words that its provider and its host used.

    Trace -> Trace          `redacted`
    file -> file            `redact_file`, in constant memory
    value -> value          `Redaction`, which a `TraceWriter` asks for each text while it records

Texts are replaced by `recorder.pseudonyms`.  Of all else that can hold words only what is known to be none of a
user's is kept: names of the interface, IIDs, names of signals and of Python's own exceptions, what the header says
of platform and versions.  Everything else is replaced: names of threads, programs, providers and hosts, messages
of exceptions, file names, fields that nobody knows.  Hashes go, since whoever guesses a text could confirm it by
them.

Numbers, handles, times and the order of calls stay.
"""

from __future__ import annotations

import builtins
import enum
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from recorder.calls import (
    Argument,
    Enter,
    Event,
    Header,
    Leave,
    Opaque,
    Outcome,
    OutcomeKind,
    Thread,
    Trace,
)
from recorder.endings import STATUSES
from recorder.interface import Interface, Parameter, Type
from recorder.provenance import KINDS
from recorder.pseudonyms import Pseudonyms
from recorder.survey import survey
from recorder.trace import write_events
from recorder.trace_input import TraceInput

__all__ = ["Mode", "Redaction", "in_words", "redact_file", "redacted"]


class Mode(enum.StrEnum):
    """What is hidden; the value stands in the header's field `redaction`."""

    TEXTS = "texts"
    STRICT = "strict"


_WORDS = {
    Mode.TEXTS: "texts: words are replaced; their lengths, digits and separators are as they were",
    Mode.STRICT: "strict: words and digits in texts are replaced; lengths and separators are as they were",
}


def in_words(redaction: str) -> str:
    """The header's field, for people."""
    return _WORDS.get(redaction, redaction)  # type: ignore[call-overload,no-any-return]


class Redaction:
    """Takes the words out of the values of one trace, or of all files of one recording.

    Equal texts become equal, different ones different.  The key with which it does so is in no file, so that it
    cannot be undone, nor a guess be confirmed.
    """

    def __init__(self, mode: Mode | str = Mode.TEXTS, *, key: bytes | None = None):
        self.mode = Mode(mode)
        self._pseudonyms = Pseudonyms(digits=self.mode is Mode.STRICT, key=key)

    def text(self, text: str) -> str:
        """Any text."""
        return self._pseudonyms.text(text)

    def argument(self, kind: Type | None, value: Argument) -> Argument:
        """An argument of a parameter of this type, None for one without a parameter."""
        if type(value) is str:
            return value if kind is Type.IID and _IID.fullmatch(value) else self.text(value)
        if isinstance(value, Opaque):
            name = value.type if isinstance(getattr(builtins, value.type, None), type) else self.text(value.type)
            return Opaque(name, self.text(value.repr))
        return self._pseudonyms.data(value) if isinstance(value, bytes) else value

    def arguments(self, inputs: Sequence[Parameter], args: Sequence[Argument]) -> tuple[Argument, ...]:
        """The arguments of a call."""
        kinds = [parameter.type for parameter in inputs]
        return tuple(
            self.argument(kinds[position] if position < len(kinds) else None, value)
            for position, value in enumerate(args)
        )

    def outcome(self, outcome: Outcome, interface: Interface) -> Outcome:
        """What came of a call: an exception is still of its class, if that is one of Python's own."""
        return outcome._replace(
            value=self.argument(None, outcome.value),
            detail=self._detail(outcome),
            place=self._place(outcome.place, interface),
            outputs=tuple(self.argument(None, value) for value in outcome.outputs),
        )

    def event(self, event: Event, interface: Interface) -> Event:
        if isinstance(event, Leave):
            return Leave(event.number, self.outcome(event.outcome, interface))
        call = event.call
        args = self.arguments(interface.method(call.method).inputs, call.args)
        return Enter(event.number, call._replace(args=args))

    def thread(self, thread: Thread) -> Thread:
        return Thread(thread.native_id, self.thread_name(thread.name))

    def thread_name(self, name: str) -> str:
        return name if name == "MainThread" else self.text(name)

    def header(self, header: Header) -> Header:
        """The header, which says then what was done.  What was redacted strictly stays so."""
        names = {method.name for method in header.interface.slots}
        strict = Mode.STRICT in (self.mode, header.redaction)
        return replace(
            header,
            redaction=(Mode.STRICT if strict else self.mode).value,
            process=self._facts(header.process, names),
            target=self._facts(header.target, names),
            provenance=self._facts(header.provenance, names),
            extra={self._extra_name(name): self._fact("", part, names) for name, part in header.extra.items()},
        )

    # --- facts ------------------------------------------------------------------------------------------------

    def _facts(self, facts: Mapping[Any, Any], names: set[str]) -> dict[Any, Any]:
        return {self._key(key, names): self._fact(key, value, names) for key, value in facts.items()}

    def _key(self, key: Any, names: set[str]) -> Any:
        return key if key in _FIELDS or key in names else self._fact("", key, names)

    def _extra_name(self, name: str) -> str:
        """Of a field of a later version: none that this version knows."""
        hidden = self.text(name)
        return hidden if hidden != "interface" and not hasattr(Header, hidden) else f"{hidden} "

    def _fact(self, key: Any, value: Any, names: set[str]) -> Any:
        if isinstance(value, str):
            if key in _HASHES:
                return ""
            pattern = _PATTERNS.get(key)
            known = value in _KNOWN.get(key, ()) or (key in _OF_INTERFACE and value in names)
            return value if known or (pattern and pattern.fullmatch(value)) else self.text(value)
        if isinstance(value, bytes):
            return self._pseudonyms.data(value)
        if isinstance(value, Mapping):
            return self._facts(value, names)
        if isinstance(value, list | tuple):
            return [self._fact(key, part, names) for part in value]
        return value

    # --- what is told of failures -----------------------------------------------------------------------------

    def _detail(self, outcome: Outcome) -> str:
        detail = outcome.detail
        if outcome.kind is not OutcomeKind.RAISED:
            return detail if detail in _ENDINGS or _CODE.fullmatch(detail) else self.text(detail)
        name, colon, message = detail.partition(":")
        known = getattr(builtins, name, None)
        if isinstance(known, type) and issubclass(known, BaseException):
            return name + colon + self.text(message)
        return self.text(detail)

    def _place(self, place: str, interface: Interface) -> str:
        found = _PLACE.fullmatch(place)
        if not found:
            return self.text(place)
        file, line, name = found.groups()
        shown = name if name in interface.slot else self.text(name)
        return f"{self.text(file)}.py:{line} in {shown}"


def redacted(trace: Trace, redaction: Redaction) -> Trace:
    """The trace without its words.  Where it is damaged, the damage is told without them, too."""
    interface = trace.interface
    damage = trace.damage and replace(trace.damage, reason=redaction.text(trace.damage.reason))
    return Trace(
        redaction.header(trace.header),
        tuple(redaction.event(event, interface) for event in trace.events),
        tuple(map(redaction.thread, trace.threads)),
        damage,
    )


def redact_file(
    trace: TraceInput, path: str | os.PathLike[str], redaction: Redaction, *, overwrite: bool = False
) -> None:
    """Write the trace without its words to `path`, whatever its size.

    Only calls and what is known of the header get there: nothing of what follows damage, no fields or records of
    later versions.  Afterwards `trace.damage` tells whether it was whole.  Raises TraceError.
    """
    with trace.source() as source:
        threads = survey(source).threads
    with trace.source() as source:
        interface = source.header.interface
        write_events(
            path,
            redaction.header(source.header),
            [redaction.thread(thread) for thread in threads],
            (redaction.event(event, interface) for event in source.events()),
            lambda: source.damage,
            overwrite=overwrite,
        )


# --- what is no user's ------------------------------------------------------------------------------------------

_IID = re.compile(r"\{[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\}")
_PLACE = re.compile(r"(.*)\.py:(\d+) in (.*)", re.DOTALL)
_CODE = re.compile(r"exit code \d{1,10}|0x[0-9A-F]{8}")
_SIGNALS = (
    "SIGABRT SIGALRM SIGBUS SIGFPE SIGHUP SIGILL SIGINT SIGIO SIGKILL SIGPIPE SIGPROF SIGQUIT SIGSEGV SIGSYS "
    "SIGTERM SIGTRAP SIGUSR1 SIGUSR2 SIGVTALRM SIGXCPU SIGXFSZ"
)
_ENDINGS = frozenset(_SIGNALS.split()) | {f"0x{status.code:08X} {status.name}" for status in STATUSES}

_HASHES = frozenset({"digest", "fingerprint"})
_OF_INTERFACE = frozenset({"method"})
_ENCODINGS = frozenset(
    {"utf-8", "UTF-8", "utf8", "ascii", "US-ASCII", "ANSI_X3.4-1968", "ISO-8859-1", "latin-1"}
) | {f"cp{number}" for number in (*range(1250, 1259), 437, 850, 852, 858, 866, 874, 932, 936, 949, 950, 65001)}
_KNOWN: Mapping[str, frozenset[str]] = {
    "kind": frozenset(KINDS),
    "was": frozenset(KINDS),
    "recorder": frozenset({"synctape"}),
    "spec": frozenset({"recorder.callback:ScriptedCallback"}),
    "implementation": frozenset({"cpython", "pypy"}),
    "system": frozenset({"linux", "win32", "darwin", "freebsd14", "cygwin"}),
    "machine": frozenset(
        {"x86_64", "AMD64", "aarch64", "ARM64", "arm64", "i686", "x86", "riscv64", "ppc64le", "s390x"}
    ),
    "tty": frozenset({"stdin", "stdout", "stderr"}),
    "level": frozenset({"conforming", "lenient", "hostile"}),
    **dict.fromkeys(("filesystem", "locale", "stdout"), _ENCODINGS),
}
_PATTERNS = {
    "id": re.compile(r"[0-9a-f]{16}"),
    "code": re.compile(r"[A-Z]\d{1,3}"),
    "broken": re.compile(r"[A-Z]\d{1,3}"),
    "python": re.compile(r"\d{1,3}(\.\d{1,3}){1,2}((a|b|rc)\d{1,2})?\+?"),
    "version": re.compile(r"\d{1,4}(\.\d{1,4}){1,3}((a|b|rc|\.post|\.dev)\d{1,3})?"),
}
_FIELDS = (
    frozenset(_KNOWN)
    | frozenset(_PATTERNS)
    | _HASHES
    | _OF_INTERFACE
    | {
        *(field for kind in KINDS.values() for field in (*kind.needed, *kind.either, *kind.known)),
        *("pid", "program", "encodings", "answers", "name"),
        *("session", "id", "file", "files"),
        *("place", "message", "oracle", "number", "flaky", "failed", "tries", "count", "seconds", "executions"),
    }
)
