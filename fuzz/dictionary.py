"""Values worth trying, by type (interface.md, 4)."""

from __future__ import annotations

import functools

from recorder import hresult
from recorder.calls import SYNC_EVENT, Handle
from recorder.interface import Type

__all__ = ["HANDLES", "HRESULTS", "INTEGERS", "LENGTHS", "PAIRS", "TEXTS", "integers"]

INTEGERS = (
    *(0, 1, 2, 7, 10, 99, 100, 101, 127, 128, 255, 256, 999, 1000, 1001, 32767, 32768, 65535, 65536),
    *(0x00FFFFFF, 0x01000000, 0x01000001, 21474837, 42949673, 2147484, 4294968, 8421505, 16843010),
    *(214749, 429497, 32769, 65538, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF),
)
"""ULONGs where programs change their behaviour: signs, widths, float precision, index * K overflows."""

PAIRS = (
    *((0, 0), (1, 0), (1, 1), (100, 100), (101, 100), (0xFFFFFFFF, 0), (0xFFFFFFFF, 1), (0, 0xFFFFFFFF)),
    *((0xFFFFFFFF, 0xFFFFFFFF), (1, 99), (21474837, 21474837), (42949673, 42949673), (65536, 65536)),
    *((0x80000000, 0x80000000), (0x7FFFFFFF, 0x80000000)),
)
"""(index, limit) pairs."""

HRESULTS = (*hresult.NAMES, *(hresult.signed(value) for value in hresult.RAW_VALUES), hresult.signed(0x80040203))

HANDLES: tuple[Handle | None, ...] = (None, SYNC_EVENT, Handle(1), Handle(2), Handle(-1), Handle(-2))

LENGTHS = (1, 30, 31, 79, 80, 127, 128, 255, 256, 259, 260, 261, 1023, 1024, 4095, 4096, 32767, 65536)
"""Lengths in UTF-16 units where buffers end."""

TEXTS = (
    *(
        "",
        " ",
        "a",
        "0",
        "-1",
        "3 of 20",
        "100%",
        "99.5%",
        "Folder",
        "Folder/Sub/Sub",
        "A\\B\\C",
        "a:b",
        "a=b",
        "a,b",
    ),
    *(
        "%s",
        "%n",
        "%x%x%x%x",
        "%1",
        "%d%%",
        "{0}",
        "{}",
        "{0.__class__}",
        "$(x)",
        "${x}",
        "&",
        "&amp;",
        "<b>x</b>",
    ),
    *(
        "<b>",
        "]]>",
        "[bold]",
        "[/]",
        "[red",
        "\\",
        "'",
        '"',
        "'; --",
        "=1+1",
        "+1",
        "-1",
        "@x",
        "\x1b[31m",
        "\x1b]0;x\x07",
    ),
    *(
        "\ud800",
        "\udc00",
        "\udc00\ud800",
        "a\ud800",
        "\udbff\udfff".encode("utf-16", "surrogatepass").decode("utf-16"),
    ),
    *(
        "\ufffe",
        "\uffff",
        "\ufeffx",
        "\x01",
        "\x07",
        "\x08",
        "\t",
        "\r",
        "\n",
        "a\r\nb",
        "\x1f",
        "\x7f",
        "\x85",
        "\u2028",
    ),
    *(
        "\u202e evil",
        "\u2066x",
        "\u200f",
        "\u061c",
        "\u200b",
        "a\u200db",
        "e\u0301",
        "\u00e9",
        "I\u0131\u0130i",
        "ﬁ",
    ),
    *(
        "e" + "\u0301" * 30,
        "👩‍👩‍👧‍👦",
        "🚀🧪",
        "受信箱",
        "Отправленные",
        "صندوق",
        "\ue000",
        "ẞ",
        "CON",
        "..",
        "/",
        "C:\\x",
    ),
)
"""Texts that parsers, formatters, terminals and file systems take in their own way."""


@functools.cache
def integers(kind: Type) -> tuple[int, ...]:
    """Boundary values of an integer type."""
    if kind is Type.HRESULT:
        return HRESULTS
    low, high = kind.range
    return tuple(dict.fromkeys(v for v in (*INTEGERS, low, high, -1, high - 1) if low <= v <= high))
