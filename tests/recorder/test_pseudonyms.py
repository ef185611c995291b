"""What a text keeps when its words are replaced, and what it loses."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recorder.pseudonyms import Pseudonyms

KEY = b"a key of this test, and of no trace"
PLAIN, STRICT = Pseudonyms(key=KEY), Pseudonyms(digits=True, key=KEY)

letters = st.sampled_from("aZéßſЖж中文한אبशि\u0301\u0345𝐀Ⓐ™🇩ª\U000e0041\u1d2b")
others = st.sampled_from(" 0179٣½:/%.,-_[]{}\\\0\t\r\n\x1b\xad\u200b\u202e\u2028\ufeff\ufe0f\ud800\udfff😀⠋")
texts = st.one_of(st.text(st.one_of(letters, others)), st.text(st.characters(codec=None), max_size=12))


def joined(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def kind(character: str) -> str:
    return unicodedata.category(character)[0]


@settings(max_examples=60, deadline=None)
@given(texts)
@example("Downloading message 17 of 2000")
@example("\ud83d\ude00 \ud800\udc00")
def test_the_shape_stays(text: str) -> None:
    for pseudonyms in (PLAIN, STRICT):
        new = pseudonyms.text(text)
        old = joined(text)
        assert len(new) == len(old)
        assert len(new.encode("utf-16-le", "surrogatepass")) == len(text.encode("utf-16-le", "surrogatepass"))
        assert new.isascii() == old.isascii()
        for before, after in zip(old, new, strict=True):
            assert before.isascii() == after.isascii() and (before > "\uffff") == (after > "\uffff")
            if kind(before) in "PZ" or unicodedata.category(before) in ("Cc", "Cs"):
                assert after == before
            if kind(before) == "N" and pseudonyms is PLAIN:
                assert after == before
        assert pseudonyms.text(text) == new == pseudonyms.text(old)


@pytest.mark.parametrize(
    "text",
    [
        "Inbox",
        "iNBOX 3 of 20",
        "Grün",
        "Входящие",
        "受信トレイ",
        "받은편지함",
        "דואר נכנס",
        "البريد الوارد",
        "इनबॉक्स",
        "𝐈𝐧",
    ],
)
def test_letters_stay_in_their_class(text: str) -> None:
    new = PLAIN.text(text)
    for before, after in zip(text, new, strict=True):
        for property in (unicodedata.category, unicodedata.bidirectional, unicodedata.east_asian_width, len):
            assert property(before) == property(after)
        assert len(before.encode()) == len(after.encode())
        assert unicodedata.name(before).split()[0] == unicodedata.name(after).split()[0]
        assert before.isupper() == after.isupper() and before.islower() == after.islower()
        assert [len(before.upper()), len(before.lower())] == [len(after.upper()), len(after.lower())]


@pytest.mark.parametrize("page", ["cp1252", "cp1251", "latin-1", "ascii"])
def test_what_fits_a_code_page_still_does(page: str) -> None:
    for text in ("Größe", "Žluťoučký", "Входящие", "Œuvre", "Inbox"):
        assert _fits(PLAIN.text(text), page) == _fits(text, page)


def _fits(text: str, page: str) -> bool:
    try:
        text.encode(page)
    except UnicodeEncodeError:
        return False
    return True


alphabets = st.sampled_from(["abcxyzABCXYZ", "äöüéÄ", "абвАБВ", "אבגת", "가나다힣"])
words = alphabets.flatmap(lambda alphabet: st.text(alphabet, min_size=1, max_size=12))


@settings(max_examples=100, deadline=None)
@given(words, st.binary(min_size=8, max_size=8))
def test_no_word_stays(word: str, key: bytes) -> None:
    for pseudonyms in (Pseudonyms(key=key), Pseudonyms(digits=True, key=key)):
        assert pseudonyms.text(word).casefold() != word.casefold()
        assert pseudonyms.text(f"<{word}>") == f"<{pseudonyms.text(word)}>"


@settings(max_examples=100, deadline=None)
@given(st.text("abAB19é", min_size=1, max_size=4), st.text("abAB19é", min_size=1, max_size=4))
def test_texts_are_equal_as_before(one: str, other: str) -> None:
    for pseudonyms in (PLAIN, STRICT):
        assert (pseudonyms.text(one) == pseudonyms.text(other)) == (one == other)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_different_words_become_different(length: int) -> None:
    words = {chr(97 + n % 26) * (length - 1) + chr(97 + n // 26) for n in range(26 * 26)}
    assert len({PLAIN.text(word) for word in words}) == len(words)
    assert not any(PLAIN.text(word) == word for word in words)


def test_words_that_differ_in_case_alone_still_do() -> None:
    assert PLAIN.text("INBOX").lower() == PLAIN.text("Inbox").lower() == PLAIN.text("inbox")
    assert PLAIN.text("ВХОД").lower() == PLAIN.text("вход")


def test_numbers_and_separators() -> None:
    assert re.fullmatch(r"[A-Z][a-z]{10} 3 [a-z]{2} 20 \(7%\)", PLAIN.text("Downloading 3 of 20 (7%)"))
    assert re.fullmatch(r"[A-Z]:\\[A-Z][a-z]{4}\\[a-z]{5}-2\.[a-z]{3}", PLAIN.text("C:\\Users\\harry-2.pst"))
    strict = STRICT.text("Downloading 31 of 2000 (7%)")
    assert re.fullmatch(r"[A-Z][a-z]{10} \d\d [a-z]{2} \d{4} \(\d%\)", strict)
    assert not {"31", "2000", "7"} & set(re.findall(r"\d+", strict))
    assert STRICT.text("٣٤") != "٣٤" and STRICT.text("٣٤").isdecimal()


def test_what_a_terminal_or_printf_would_act_on_stays() -> None:
    assert re.fullmatch(r"\x1b\[31m[A-Z][a-z]{4}\x1b\[0m\r", PLAIN.text("\x1b[31mInbox\x1b[0m\r"))
    assert re.fullmatch(r"\x1b\]0;[a-z]{5}\x07", PLAIN.text("\x1b]0;harry\x07"))
    assert re.fullmatch(r"[a-z]{4} %s %5\.2f %lld %n", PLAIN.text("done %s %5.2f %lld %n"))
    assert re.fullmatch(r"\x1b\[\d\dm", STRICT.text("\x1b[31m")) and STRICT.text("\x1b[31m") != "\x1b[31m"


def test_words_in_disguise() -> None:
    """Letters as symbols, in surrogate pairs, in invisible tags, in private use."""
    for text in ("Ⓗⓘ", "𝓗𝓲", "\ud835\udcd7\ud835\udcf2", "\U000e0068\U000e0069", "\ue001\ue002", "🇩🇪"):
        assert PLAIN.text(text) not in (text, joined(text))
    assert PLAIN.text("👩\u200d💻\ufe0f⠋▉\u202e\xad") == "👩\u200d💻\ufe0f⠋▉\u202e\xad"


def test_bytes() -> None:
    data = "Größe 17".encode() + b"\0\xff"
    new = PLAIN.data(data)
    assert len(new) == len(data) and new != data
    assert new[-5:-1] == b" 17\0" and new[-1] >= 0x80 and new[:1].isupper() and new[1:2].islower()
    assert STRICT.data(b"17") != b"17" and STRICT.data(b"17").isdigit()
    assert PLAIN.data(b"") == b""


def test_each_has_a_key_of_its_own() -> None:
    text = "a word that is long enough"
    assert len({Pseudonyms().text(text) for _ in range(4)}) == 4


def test_long_texts() -> None:
    text = "x" * 20_000 + " " + "ж" * 3_000
    new = PLAIN.text(text)
    assert len(new) == len(text) and new[20_000] == " " and len(set(new[:20_000])) == 26


@pytest.mark.slow
def test_every_character_has_others_to_become() -> None:
    from recorder.pseudonyms import _alphabets, _block

    checked: dict[int, object] = {}  # with what keeps it, so that no other takes its id
    for block in dict.fromkeys(_block(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000):
        for character, alphabet in _alphabets(block).items():
            assert character in alphabet
            if id(alphabet) not in checked:  # many characters share one
                checked[id(alphabet)] = alphabet
                assert len(set(alphabet)) == len(alphabet) > 1
                assert ord(alphabet[0]) in block and ord(alphabet[-1]) in block
