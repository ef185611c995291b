"""Texts without their words: each word becomes another of the same shape, by a key that nobody keeps.

A letter becomes a letter of the same class: of the same script, category and case, as long in UTF-16 and UTF-8,
as wide and in the same direction, and in the same Windows code pages.  All that is no letter stays where it is:
spaces, separators, format characters, lone surrogates, symbols, escape sequences, and digits unless they are to
be hidden, too.  Marks go with letters, since in many scripts half of a word is marks.

A word is a run of letters, marks and digits.  What it becomes depends on all of it and on the key, and never on
what came before, so that equal texts become equal ones in any thread and in every file of a recording.
Different words become different ones: a word is *enciphered*, by a Feistel network over the alphabets of its
letters, conjugated with a step that moves every value, so that no word becomes itself.  Letters are enciphered
by their places in their alphabets, so that `Inbox`, `INBOX` and `inbox` still differ in case alone.
"""

from __future__ import annotations

import functools
import hashlib
import re
import secrets
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, TypeVar

__all__ = ["Pseudonyms"]

_T = TypeVar("_T")

_ROUNDS = 4
_CACHED_WORDS = 1 << 13
_LONGEST_CACHED = 64  # characters
_FEW = 4  # letters that are fewer of one class than this are put together with like ones

_KEPT = re.compile(
    r"(\x1b\[[0-?]*[ -/]*[@-~]|\x9b[0-?]*[ -/]*[@-~]|\x1b[ -/]*[0-Z\\^-~]"  # an escape sequence
    r"|%[-+#0-9.*]*(?:hh?|ll?|[Lqjzt])?[A-Za-z]|%[-+ #0-9.*]*[A-Za-z])"  # a conversion, as printf takes it
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_ASCII_WORD = re.compile("([A-Za-z0-9]+)")
_ASCII_WORD_WITH_LETTERS = re.compile("([0-9]*[A-Za-z][A-Za-z0-9]*)")

_LARGE_BLOCKS = (  # a few letters of the same 256 would tell too much where there are thousands
    range(0x3400, 0x4DC0),
    range(0x4E00, 0xA000),
    range(0xAC00, 0xD7A4),
    range(0xE000, 0xF900),
    range(0x20000, 0x32400),
)
_SELECTORS = (range(0x180B, 0x1810), range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))
_REGIONAL = range(0x1F1E6, 0x1F200)
_TAG_LETTERS = (range(0xE0041, 0xE005B), range(0xE0061, 0xE007B))
_TAG_DIGITS = range(0xE0030, 0xE003A)
_CODE_PAGES = ("cp1252", "cp1250", "cp1251", "cp1253")
_FORMS: tuple[Literal["NFC", "NFD", "NFKC", "NFKD"], ...] = ("NFC", "NFD", "NFKC", "NFKD")
_EAST_ASIAN = ("cp932", "cp936", "cp949", "cp950")


class Pseudonyms:
    """A text's replacement.  `digits`: they are replaced, too.  Without a key it has one that nobody knows."""

    def __init__(self, *, digits: bool = False, key: bytes | None = None):
        self.digits = digits
        self._key = secrets.token_bytes(32) if key is None else key
        self._short_word = functools.lru_cache(maxsize=_CACHED_WORDS)(self._word)
        self._order = functools.lru_cache(maxsize=64)(self._cycle)

    def text(self, text: str) -> str:
        """The text with other words.  Surrogates that stand side by side are the character that they are."""
        if not text.isascii() and _SURROGATE.search(text):
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        if "%" not in text and "\x1b" not in text and "\x9b" not in text:
            return self._words(text)
        pieces = _KEPT.split(text)
        pieces[::2] = map(self._words, pieces[::2])
        if self.digits:
            pieces[1::2] = (_DIGITS.sub(lambda found: self._words(found[0]), piece) for piece in pieces[1::2])
        return "".join(pieces)

    def data(self, data: bytes) -> bytes:
        """Bytes of which nobody knows the encoding: ASCII letters become others, and so do bytes above ASCII."""
        alphabets = [a for a in _BYTES if self.digits or a is not _BYTE_DIGITS]
        places = {byte: (alphabet, place) for alphabet in alphabets for place, byte in enumerate(alphabet)}
        return bytes(self._enciphered(data, [places.get(byte) for byte in data], "bytes"))

    def _words(self, text: str) -> str:
        if text.isascii():
            words = _ASCII_WORD if self.digits else _ASCII_WORD_WITH_LETTERS
            pieces = words.split(text)
            pieces[1::2] = map(self._short_word if len(text) <= _LONGEST_CACHED else self._pseudonym, pieces[1::2])
            return "".join(pieces)
        return "".join(self._pseudonym(part) if is_word else part for is_word, part in _parts(text))

    def _pseudonym(self, word: str) -> str:
        return self._short_word(word) if len(word) <= _LONGEST_CACHED else self._word(word)

    def _word(self, word: str) -> str:
        letters = [_letter(character) for character in word]
        places = [
            None if a is None or (a.digits and not self.digits) else (a.characters, a.place) for a in letters
        ]
        return "".join(self._enciphered(word, places, "text"))

    # --- the cipher -------------------------------------------------------------------------------------------

    def _enciphered(
        self, word: Sequence[_T], places: Sequence[tuple[Sequence[_T], int] | None], kind: str
    ) -> Iterable[_T]:
        """The word with other letters, each from the alphabet of the old one; where it has no place it stays."""
        found = [place for place in places if place is not None]
        sizes = [len(alphabet) for alphabet, _ in found]
        if max(sizes, default=1) == 1:
            return word
        shape = [part if place is None else len(place[0]) for part, place in zip(word, places, strict=True)]
        new = iter(self._cipher([place for _, place in found], sizes, repr((kind, shape)).encode()))
        return [part if place is None else place[0][next(new)] for part, place in zip(word, places, strict=True)]

    def _cipher(self, values: list[int], sizes: list[int], context: bytes) -> list[int]:
        """Numbers, each less than its size, to others, not all the same: one to one for a context."""
        if len(values) == 1:
            order, places = self._order(sizes[0], context)
            return [order[(places[values[0]] + 1) % sizes[0]]]
        values = list(values)
        for number in range(_ROUNDS):
            self._round(values, sizes, context, number, 1)
        moved = next(position for position, size in enumerate(sizes) if size > 1)
        (step,) = self._stream(context + b"step", 1)
        values[moved] = (values[moved] + 1 + step % (sizes[moved] - 1)) % sizes[moved]
        for number in reversed(range(_ROUNDS)):
            self._round(values, sizes, context, number, -1)
        return values

    def _round(self, values: list[int], sizes: list[int], context: bytes, number: int, sign: int) -> None:
        """Move one half of the numbers by what the other half says."""
        changed, telling = range(number % 2, len(values), 2), values[1 - number % 2 :: 2]
        stream = self._stream(context + repr((number, telling)).encode(), len(changed))
        for position, step in zip(changed, stream, strict=True):
            values[position] = (values[position] + sign * step) % sizes[position]

    def _cycle(self, size: int, context: bytes) -> tuple[list[int], list[int]]:
        """All numbers below size in an order of the key's own, and the place of each in it."""
        keys = self._stream(context + b"order", size)
        order = sorted(range(size), key=keys.__getitem__)
        places = [0] * size
        for place, value in enumerate(order):
            places[value] = place
        return order, places

    def _stream(self, about: bytes, count: int) -> list[int]:
        digest = hashlib.shake_128(self._key + about).digest(8 * count)
        return [int.from_bytes(digest[at : at + 8], "big") for at in range(0, 8 * count, 8)]


_DIGITS = re.compile("[0-9]+")
_BYTE_DIGITS = bytes(range(ord("0"), ord("9") + 1))
_BYTES = (
    _BYTE_DIGITS,
    bytes(range(ord("A"), ord("Z") + 1)),
    bytes(range(ord("a"), ord("z") + 1)),
    bytes(range(0x80, 0x100)),
)


# --- classes of characters --------------------------------------------------------------------------------------


class _Letter(NamedTuple):
    """A character that words are made of: its alphabet, in which place, and whether these are digits."""

    characters: str
    place: int
    digits: bool


def _parts(text: str) -> Iterator[tuple[bool, str]]:
    """The text cut into words and what stands between them."""
    start, inside = 0, False
    for at, character in enumerate(text):
        if (_letter(character) is not None) != inside:
            if start < at:
                yield inside, text[start:at]
            start, inside = at, not inside
    if start < len(text):
        yield inside, text[start:]


@functools.lru_cache(maxsize=1 << 12)
def _letter(character: str) -> _Letter | None:
    """None for a character that stays."""
    alphabet = _alphabets(_block(ord(character))).get(character)
    if alphabet is None:
        return None
    return _Letter(alphabet, alphabet.index(character), _is_digit(character))


def _block(code: int) -> range:
    """The characters among which a replacement is looked for."""
    for block in _LARGE_BLOCKS:
        if code in block:
            return block
    return range(code & ~0xFF, (code | 0xFF) + 1)


@functools.lru_cache(maxsize=512)
def _alphabets(block: range) -> dict[str, str]:
    """Each letter, mark or digit of a block with its alphabet: all that are of its class, itself among them.

    Where there are few of a class in all its details, less of it has to do.
    """
    rest = [character for character in map(chr, block) if _is_letter(character) or _is_digit(character)]
    found: list[list[str]] = []
    encodable = _encodable(rest)
    details: tuple[Callable[[str], object], ...] = (
        lambda c: (_class(c), _form(c), encodable[c]),
        lambda c: (_class(c), encodable[c]),
        lambda c: (_class(c), encodable[c][:1]),
        lambda c: (_class(c), _form(c)),
        _class,
    )
    if block in _LARGE_BLOCKS:  # all alike, and too many to ask each
        details = (lambda c: (unicodedata.category(c), _is_open_syllable(c), encodable[c]),)
    keys: tuple[Callable[[str], object], ...] = (
        *details,
        lambda c: (unicodedata.category(c), _is_digit(c), c.isascii()),
        lambda c: (_is_digit(c), c.isascii()),
    )
    for key in keys:
        classes: defaultdict[object, list[str]] = defaultdict(list)
        for character in rest:
            classes[key(character)].append(character)
        few = 2 if key is keys[-1] else _FEW
        found += [members for members in classes.values() if len(members) >= few]
        rest = [c for members in classes.values() if len(members) < few for c in members]
    for character in rest:  # one that is like no other in its block, and like none of the few others
        alike = [members for members in found if keys[-1](members[0]) == keys[-1](character)]
        max(alike, key=len, default=[]).append(character)
    alphabets = ("".join(sorted(members, key=lambda c: (c.lower(), c))) for members in found)
    return {character: alphabet for alphabet in alphabets for character in alphabet}


def _is_letter(character: str) -> bool:
    category, code = unicodedata.category(character), ord(character)
    if category[0] == "L" or category in ("Mn", "Mc"):
        return not any(code in selectors for selectors in _SELECTORS) and code != 0x034F
    if category[0] == "S":  # as the trade mark sign, circled letters, and those that make flags
        return code in _REGIONAL or any(map(str.isalpha, unicodedata.normalize("NFKD", character)))
    if category == "Cn":  # perhaps a letter of a newer Unicode
        return code & 0xFFFE != 0xFFFE and code not in range(0xFDD0, 0xFDF0)
    return category == "Co" or any(code in letters for letters in _TAG_LETTERS)


def _is_digit(character: str) -> bool:
    return unicodedata.category(character)[0] == "N" or ord(character) in _TAG_DIGITS


def _is_open_syllable(character: str) -> bool:
    """Of Hangul, which decomposes into two jamo then, else into three."""
    return (ord(character) - 0xAC00) % 28 == 0 and ord(character) in range(0xAC00, 0xD7A4)


def _class(character: str) -> object:
    """What a host sees of a character without knowing the word that it stands in."""
    words = unicodedata.name(character, "").split()
    script = "".join(words[1:2] if words[:1] == ["HANGUL"] else words[:1])  # jamo join by their kinds
    return (
        unicodedata.category(character),
        character.isascii(),
        len(character.encode("utf-8", "surrogatepass")),
        unicodedata.bidirectional(character),
        unicodedata.combining(character),
        unicodedata.east_asian_width(character),
        script,
        character.isdecimal(),
        character.isdigit(),
    )


def _form(character: str) -> object:
    """How it changes its length."""
    changed = (character.lower(), character.upper(), character.casefold(), character.title())
    return tuple(map(len, (*changed, *(unicodedata.normalize(form, character) for form in _FORMS))))


def _encodable(characters: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """For each character the code pages that have it."""
    found: dict[str, tuple[str, ...]] = dict.fromkeys(characters, ())
    joined = "".join(characters)
    for page in _CODE_PAGES if characters and ord(characters[0]) < 0x2E80 else _EAST_ASIAN:
        for character in found.keys() & set(joined.encode(page, "ignore").decode(page, "ignore")):
            found[character] += (page,)
    return found
