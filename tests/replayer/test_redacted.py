"""A redacted trace replays as the original does, on hosts that do not look words up."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from sequences import QuietHost

from recorder.calls import Call, Outcome, Trace
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK as SYNC
from recorder.redaction import Mode, Redaction, redacted
from recorder.trace import dump_trace, load_trace
from replayer.player import play
from replayer.target import object_target


class Particular(QuietHost):
    """Answers by everything about its texts but the words: form, numbers, repetition, and what can be shown."""

    reads_numbers = True

    def __init__(self) -> None:
        self.texts: list[str] = []

    def Progress(self, text: str | None, index: int, maximum: int) -> Any:
        if text is None:
            return 1
        seen = text in self.texts
        self.texts.append(text)
        if seen:
            return 2 + self.texts.index(text) % 50
        if any(unicodedata.category(c) in ("Cs", "Cf") for c in text):
            raise UnicodeError(f"cannot show {text!a}")
        if self.reads_numbers and (found := re.search(r"(\d+) of (\d+)|(\d+)/(\d+)|(\d+) \w+ (\d+)", text)):
            part, whole = [int(group) for group in found.groups() if group is not None]
            return 100 + 100 * part // whole
        if "%" in text:
            return -len(text % ())
        return 1000 + len(text.encode("utf-16-le")) + 7 * len(text.split()) + 11 * len(text.encode())

    def Error(self, result: int, text: str | None) -> Any:
        if text is None:
            raise ValueError("no text")
        shape = "".join(unicodedata.category(c)[0] + unicodedata.bidirectional(c) for c in text)
        return (
            len(shape)
            + 3 * text.count(":")
            + 5 * sum(c.isupper() for c in text)
            + sum(map(len, text.splitlines()))
        )


class NoNumbers(Particular):
    """Does not read numbers either."""

    reads_numbers = False


words = st.sampled_from(
    ["Inbox", "INBOX", "inbox", "Größe", "Входящие", "受信", "דואר", "e\u0301te\u0301", "a", "of"]
)
pieces = st.one_of(
    words,
    st.sampled_from(
        [" ", " 3 of 20 ", "7/0", "0 von 0", ": ", "\t", "\r\n", "%s", "%d", "100% ", "%%", "\x1b[31m"]
    ),
    st.sampled_from(["\u200b", "\u202e", "\xad", "\ud800", "\udc00", "😀", "\0", "[b]", "{0}", "1", "٣"]),
)
texts = st.one_of(st.none(), st.lists(pieces, max_size=5).map("".join))
numbers = st.integers(0, 2**32 - 1)
calls = st.one_of(
    st.builds(lambda *args: Call("Progress", args), texts, numbers, numbers),
    st.builds(lambda *args: Call("Error", args), st.just(-2147467259), texts),
)


def outcomes(trace: Trace, host: type[QuietHost]) -> list[tuple[Any, ...]]:
    """What came of each call; of an exception its class, since messages are the host's own words."""
    played = play(trace, object_target(host)).trace.played
    return [told(p.outcome) for p in played if p.outcome]


def told(outcome: Outcome) -> tuple[Any, ...]:
    return outcome.kind, outcome.value, outcome.detail.partition(":")[0], outcome.outputs


@settings(max_examples=60, deadline=None)
@given(st.lists(calls, min_size=1, max_size=6))
def test_a_redacted_trace_replays_with_the_same_outcomes(sequence: list[Call]) -> None:
    original = load_trace(dump_trace(Trace.from_calls(sequence)))
    for mode, host in ((Mode.TEXTS, Particular), (Mode.TEXTS, NoNumbers), (Mode.STRICT, NoNumbers)):
        new = load_trace(dump_trace(redacted(original, Redaction(mode))))
        assert new.interface == SYNC and len(new.calls) == len(original.calls)
        assert outcomes(new, host) == outcomes(original, host)


def test_the_host_is_particular() -> None:
    """So that the property above says something."""
    sequence = [
        Call("Progress", (text, 0, 1))
        for text in ("Inbox", "Inbox", "Inboxx", "3 of 20", "7 of 0", "a\ud800", "\u202e", "%d", "100% done", None)
    ]
    shown = [(value, detail) for _, value, detail, _ in outcomes(Trace.from_calls(sequence), Particular)]
    assert len(set(shown)) == len(shown) - 2  # two cannot be shown, two are no formats
