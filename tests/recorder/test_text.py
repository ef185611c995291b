"""The text form: what it looks like, that every trace comes back from it, and what its errors say."""

from __future__ import annotations

import json
import math
import re
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorder import hresult
from recorder.calls import (
    NOT_RUN,
    SYNC_EVENT,
    Argument,
    Call,
    Enter,
    Event,
    Handle,
    Header,
    Leave,
    Opaque,
    Outcome,
    OutcomeKind,
    Thread,
    Trace,
    TraceDamage,
)
from recorder.errors import InterfaceError, SynctapeError, TextError
from recorder.interface import Direction, Interface, Method, Parameter, Type
from recorder.interfaces import IMAPI_SYNC_PROGRESS_CALLBACK, IUNKNOWN
from recorder.text import (
    argument_text,
    call_text,
    duration_text,
    escape,
    from_text,
    is_text,
    outcome_text,
    parse_call,
    quote,
    text_lines,
    to_text,
)

SYNC = IMAPI_SYNC_PROGRESS_CALLBACK
E_FAIL = hresult.parse("E_FAIL")

WHOLE = r"""synctape 1
interface: "IMAPISyncProgressCallback"
created_ns: 1700000000000000000
sync_flags: 130
process: {"pid": 1, "odd": {"$bytes": "00ff"}, "more": [null, true, 1.5, {"$float": "nan"}]}
later: {"$map": [[1, "one"], ["$bytes", 2]]}
"not an identifier": []
thread t0 4711 "MainThread"
thread t1 0 "\u202e"

0.000557056 t0 Progress("Folder [", 2, 15) -> S_OK 12.288us
0.001048576 t0 #1 Progress(NULL, 3, 15) ...
0.001052672 t1 #2 Error(0x80004005 E_FAIL, "b\u00e4d 中") ...
#1 -> S_OK 1.000448ms
#2 -> raised "ValueError: bad" at "host.py:7 in Error" 5ns
0.002000000 t0 Error(0x80041234, NULL) -> None 2s
0.003000000 t0 QueryInterface("{00000000-0000-0000-c000-000000000046}") -> S_OK (handle(1)) 1us
0.004000000 t0 Done(NULL, 0x00040680 MAPI_W_PARTIAL_COMPLETION) -> crashed "SIGSEGV"
0.005000000 t0 Done(handle(-1), 2147942405) -> hung 5s
0.006000000 t0 Progress(1.5, true, bytes(00ff), opaque("Folder", "<Folder>")) -> not run "the process is gone"
0.007000000 t0 #8 Done(sync-event, S_OK) ...
""".replace("\\u00e4", "ä")


def test_a_whole_trace_prints_as_it_was_written() -> None:
    trace = from_text(WHOLE)
    assert to_text(trace) == WHOLE
    assert trace.interface == SYNC
    assert trace.threads == (Thread(4711, "MainThread"), Thread(0, "\u202e"))
    assert trace.header.sync_flags == 130
    assert trace.header.process["odd"] == b"\x00\xff"
    assert math.isnan(trace.header.process["more"][3])
    assert trace.header.extra == {"later": {1: "one", "$bytes": 2}, "not an identifier": []}
    played = trace.played
    assert [p.outcome.kind.value if p.outcome else None for p in played] == [
        *("returned", "returned", "raised", "returned", "returned", "crashed", "hung", "not run"),
        None,
    ]
    assert played[0].call == Call("Progress", ("Folder [", 2, 15), 0, 557_056)
    assert played[1].outcome == Outcome(elapsed_ns=1_000_448)
    assert played[2].call == Call("Error", (E_FAIL, "bäd 中"), 1, 1_052_672)
    assert played[2].outcome == Outcome(OutcomeKind.RAISED, None, 5, "ValueError: bad", "host.py:7 in Error")
    assert played[3].outcome == Outcome(value=None, elapsed_ns=2 * 10**9)
    assert played[4].outcome == Outcome(elapsed_ns=1000, outputs=(Handle(1),))
    assert played[6].call.args == (Handle(-1), 2147942405)
    assert played[7].call.args == (1.5, True, b"\x00\xff", Opaque("Folder", "<Folder>"))
    assert played[8].call.args == (SYNC_EVENT, 0)


def test_the_shortest_text_is_one_line() -> None:
    assert from_text("synctape 1") == Trace()
    assert to_text(Trace()) == 'synctape 1\ninterface: "IMAPISyncProgressCallback"\n\n'


def test_what_a_person_may_leave_out() -> None:
    trace = from_text(
        "\ufeffsynctape 1\r\n"
        "\n"
        "# a comment\n"
        'Progress("a", 1, 2)\n'
        "   #and another\r\n"
        "1.5 Done(None, E_FAIL) -> S_OK # here it breaks\n"
        "t2   #7 Done( sync-event ,0x80004005 )   ->S_OK  5ns\n"
    )
    assert trace.header == Header()
    assert trace.threads == (Thread(),) * 3
    assert trace.events == (
        Enter(0, Call("Progress", ("a", 1, 2))),
        Leave(0, NOT_RUN),
        Enter(1, Call("Done", (None, E_FAIL), 0, 1_500_000_000)),
        Leave(1, Outcome()),
        Enter(7, Call("Done", (SYNC_EVENT, E_FAIL), 2)),
        Leave(7, Outcome(elapsed_ns=5)),
    )


def test_damage_is_a_comment() -> None:
    trace = Trace(damage=TraceDamage(219, "recording stopped: no\nspace", 7))
    text = to_text(trace)
    assert text.endswith("\n# damaged: recording stopped: no\\nspace at byte 219, after 7 events\n")
    assert from_text(text) == Trace()


def test_lines_can_be_streamed() -> None:
    trace = from_text(WHOLE)
    assert "".join(f"{line}\n" for line in text_lines(trace.header, trace.threads, iter(trace.events))) == WHOLE


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (Call("Progress", ("Folder [", 2, 15)), 'Progress("Folder [", 2, 15)'),
        (Call("Progress", (None, 0, 0xFFFFFFFF)), "Progress(NULL, 0, 4294967295)"),
        (Call("Error", (E_FAIL, "bad")), 'Error(0x80004005 E_FAIL, "bad")'),
        (Call("Error", (0x80004005, "bad")), 'Error(2147500037, "bad")'),
        (Call("Error", (-1, "")), 'Error(0xFFFFFFFF, "")'),
        (Call("Done", (SYNC_EVENT, 0)), "Done(sync-event, S_OK)"),
        (Call("Done", (Handle(3), 1)), "Done(handle(3), 0x00000001 S_FALSE)"),
        (
            Call("Done", (Handle(-2), hresult.parse("HRESULT_FROM_WIN32(1223)"))),
            "Done(handle(-2), 0x800704C7 HRESULT_FROM_WIN32(1223))",
        ),
        (Call("Done", ()), "Done()"),
        (Call("Release"), "Release()"),
        (Call("Done", (True, 1.0, "x", -math.inf, -(2**64))), 'Done(true, 1.0, "x", -inf, -0x10000000000000000)'),
        (Call("no method", (1,)), '"no method"(1)'),
    ],
)
def test_calls(call: Call, text: str) -> None:
    assert call_text(call, SYNC) == text
    if call.method in SYNC.slot:
        assert parse_call(text, SYNC) == call


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (Outcome(), "S_OK"),
        (Outcome(value=None, elapsed_ns=7), "None"),
        (Outcome(value=E_FAIL), "0x80004005 E_FAIL"),
        (Outcome(value=0x80004005), "2147500037"),
        (Outcome(value="S_OK"), '"S_OK"'),
        (Outcome(value=True), "true"),
        (Outcome(OutcomeKind.RAISED, None, 0, "KeyError: 'x'"), "raised \"KeyError: 'x'\""),
        (Outcome(OutcomeKind.CRASHED, None, 0, "SIGSEGV", "libhost.so"), 'crashed "SIGSEGV" at "libhost.so"'),
        (Outcome(OutcomeKind.HUNG, None, 0, "", "host.py:3 in Done"), 'hung at "host.py:3 in Done"'),
        (Outcome(OutcomeKind.CRASHED), "crashed with S_OK"),
        (NOT_RUN, "not run"),
    ],
)
def test_outcomes(outcome: Outcome, text: str) -> None:
    assert outcome_text(outcome, SYNC.method("Done")) == text


def test_an_outcome_of_an_unknown_method_has_no_types() -> None:
    assert outcome_text(Outcome(value=E_FAIL, outputs=(1, None)), None) == "-2147467259 (1, NULL)"


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0ns"),
        (999, "999ns"),
        (-5, "-5ns"),
        (1000, "1us"),
        (12_288, "12.288us"),
        (1_000_001, "1.000001ms"),
        (1_500_000_000, "1.5s"),
        (-3_600_000_000_001, "-3600.000000001s"),
    ],
)
def test_durations_are_exact(ns: int, text: str) -> None:
    assert duration_text(ns) == text


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("", '""'),
        ("Prüfe 中文 Ω العربية 😀", '"Prüfe 中文 Ω العربية 😀"'),
        ('a"b\\c', r'"a\"b\\c"'),
        ("\n\r\t\b\f\x00\x7f\x85\x1b[31m", r'"\n\r\t\b\f\u0000\u007f\u0085\u001b[31m"'),
        ("\ud800 \udc00", r'"\ud800 \udc00"'),
        ("\u202e\u2066\u200f\u061c", r'"\u202e\u2066\u200f\u061c"'),
        ("\u200b\u200d\ufeff\u00ad\u2060", r'"\u200b\u200d\ufeff\u00ad\u2060"'),
        ("\u2028\u2029\u00a0\u3000", r'"\u2028\u2029\u00a0\u3000"'),
        ("\ue000\uffff\U000e0041\U0010ffff", r'"\ue000\uffff\udb40\udc41\udbff\udfff"'),
        ("\u3164\ufe0f\u2800\u034f", r'"\u3164\ufe0f\u2800\u034f"'),
    ],
)
def test_strings_show_what_is_in_them(text: str, quoted: str) -> None:
    assert quote(text) == quoted
    assert json.loads(quoted) == text
    assert escape(text) == quoted[1:-1]


def test_a_surrogate_pair_comes_back_as_its_character() -> None:
    assert parse_call('Progress("\\ud83d\\ude00", 1, 1)', SYNC).args[0] == "😀"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("S_OK", 0),
        ("E_FAIL", E_FAIL),
        ("MAPI_E_CALL_FAILED", E_FAIL),
        ("0x80004005", E_FAIL),
        ("0x80004005 E_FAIL", E_FAIL),
        ("0x80041234 E_OF_A_LATER_VERSION", hresult.signed(0x80041234)),
        ("HRESULT_FROM_WIN32(5)", hresult.parse("E_ACCESSDENIED")),
        ("5", 5),
        ("-1", -1),
        ("-0x1", -1),
        ("0x180004005", 0x180004005),
        ("1e3", 1000.0),
    ],
)
def test_spellings_of_an_hresult(text: str, value: Argument) -> None:
    assert parse_call(f"Done(NULL, {text})", SYNC).args == (None, value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected 'synctape 1', got ''"),
        ('{"kind": 1}', "line 1: expected 'synctape 1', got '{\"kind\": 1}'"),
        ("synctape x", "line 1: expected 'synctape 1', got 'synctape x'"),
        ("synctape 2\nwhatever", "line 1: text form 2, this synctape reads 1; upgrade synctape"),
        ("synctape 1\nProgres(NULL, 1, 2)", "line 2: no method 'Progres' in IMAPISyncProgressCallback; did you"),
        ("synctape 1\n\n???", "line 3: column 1: expected a call at ???"),
        ("synctape 1\nProgress NULL", "line 2: column 10: expected '(' at NULL"),
        ("synctape 1\nProgress(NULL 1)", "line 2: column 15: expected ',' at 1)"),
        ("synctape 1\nProgress(NULL,", "line 2: column 15: expected a value at the end of the line"),
        ("synctape 1\nProgress(E_FAIL)", "line 2: column 10: expected a value at E_FAIL)"),
        ('synctape 1\nProgress("a)', 'line 2: column 10: expected a string in double quotes at \\"a)'),
        ('synctape 1\nProgress("\t")', "line 2: Invalid control character"),
        ("synctape 1\nDone(NULL, 0x80004005 E_ABORT)", "line 2: 0x80004005 is E_FAIL, not E_ABORT"),
        ("synctape 1\nDone(NULL, E_NOSUCH)", "line 2: unknown HRESULT name E_NOSUCH"),
        (f"synctape 1\nDone({'9' * 5000}, 1)", "line 2: Exceeds the limit"),
        ("synctape 1\nDone(NULL, 0) -> S_OK 1.5ns", "line 2: 1.5ns is not a whole number of nanoseconds"),
        ("synctape 1\nDone(NULL, 0) -> S_OK soon", "line 2: column 23: expected the end of the line at soon"),
        ("synctape 1\nDone(NULL, 0) S_OK", "line 2: column 15: expected the end of the line at S_OK"),
        ("synctape 1\n#0 -> S_OK", "line 2: no call 0 is running"),
        ("synctape 1\nDone(NULL, 0) ...\n#0 -> S_OK\n#0 -> S_OK", "line 4: no call 0 is running"),
        ("synctape 1\n#1 Done(NULL, 0)\nDone(NULL, 0)", "line 3: call 1 is there already"),
        ('synctape 1\nthread t0 1 "a"\nt1 Done(NULL, 0)', "line 3: there is no thread t1"),
        ("synctape 1\nt1048576 Done(NULL, 0)", "line 2: there is no thread t1048576"),
        ('synctape 1\nthread t1 1 "a"', "line 2: expected thread t0, got t1"),
        ('synctape 1\nthread t0 1 "a"\nthread none', "line 3: 'thread none' beside other threads"),
        ("synctape 1\nDone(NULL, 0)\nthread none", "line 3: a thread line comes after the first call"),
        ("synctape 1\nDone(NULL, 0)\ntick_ns: 1", "line 3: a header line comes after the first call"),
        ("synctape 1\ntick_ns: 0", "line 2: tick_ns is out of range"),
        ("synctape 1\ntick_ns: 1\ntick_ns: 1", "line 3: tick_ns is given twice"),
        ('synctape 1\ninterface: "IUnknown"\ninterface: "IUnknown"', "line 3: interface is given twice"),
        ("synctape 1\nx: 1\nx: 1", "line 3: x is given twice"),
        ("synctape 1\ncreated_ns: soon", "line 2: not JSON (Expecting value at its character 1)"),
        ("synctape 1\ncreated_ns: NaN", "line 2: NaN is not JSON"),
        ("synctape 1\ncreated_ns: null", "line 2: created_ns cannot be null"),
        ("synctape 1\nsync_flags: true", "line 2: sync_flags cannot be true"),
        ("synctape 1\nredaction: 1", "line 2: redaction cannot be 1"),
        ("synctape 1\nprocess: []", "line 2: process cannot be []"),
        ('synctape 1\nprocess: {"$bytes": "0"}', "line 2: "),
        ('synctape 1\nx: {"$map": 5}', "line 2: $map with int says nothing"),
        ('synctape 1\nx: {"$what": 5}', "line 2: $what with int says nothing"),
        ('synctape 1\ninterface: "IWhat"', "line 2: unknown interface 'IWhat'; give its whole description"),
        ('synctape 1\ninterface: {"name": 1}', "line 2: interface description"),
        ("synctape 1\nx: " + "[" * 100_000, "line 2: "),
    ],
)
def test_errors_tell_the_line(text: str, message: str) -> None:
    with pytest.raises(TextError) as caught:
        from_text(text)
    shown = str(caught.value)
    assert shown.startswith(message)
    assert "\n" not in shown
    assert caught.value.line == int(re.findall(r"line (\d+)", message)[0])


def test_a_call_alone_has_errors_too() -> None:
    with pytest.raises(TextError, match="line 1: no method 'Foo'"):
        parse_call("Foo()", SYNC)
    with pytest.raises(TextError, match=r"line 1: column 10: expected the end of the line at -> S_OK"):
        parse_call("AddRef() -> S_OK", SYNC)


def test_an_end_without_a_beginning_does_not_print() -> None:
    with pytest.raises(SynctapeError, match="call 3 ends, but none of that number is running"):
        to_text(Trace(events=(Leave(3, Outcome()),)))


def test_numbers_beyond_pythons_limit_for_decimals() -> None:
    huge = -(10**5000)
    trace = Trace(
        Header(process={"huge": huge}),
        (Enter(0, Call("Progress", (None, huge, 2**64))), Leave(0, Outcome(value=huge))),
    )
    assert from_text(to_text(trace)) == trace
    assert argument_text(huge).startswith("-0x")


def test_which_files_are_text() -> None:
    assert is_text(b"synctape 1\n")
    assert is_text(b"\xef\xbb\xbfsynctape 2")
    assert not is_text(b"\x93\xa8synctape\x01")
    assert not is_text(b"")


# --- properties ----------------------------------------------------------------------------------------------

EVERYTHING = Interface(
    "IEverything",
    "{12345678-1234-1234-1234-123456789abc}",
    (
        Method("All", tuple(Parameter(f"a{n}", t) for n, t in enumerate(Type) if t is not Type.VOID)),
        Method("GetMax", (Parameter("out", Type.U32, direction=Direction.OUT),)),
        Method("Get", tuple(Parameter(t.value, t, direction=Direction.OUT) for t in (Type.HRESULT, Type.I64))),
        Method("Set", (Parameter("min", Type.U32, pointer=True, nullable=True),), Type.VOID),
        Method('strange "name"(\u202e', (), Type.BOOL),
        Method("t0"),
        Method("thread", (Parameter("n", Type.I32),), Type.U64),
    ),
    base=IUNKNOWN,
)


def _joined(text: str) -> str:
    """Side by side surrogates joined, as UTF-16 has it."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


_ODD_CHARACTERS = '"\\\n\r\t\0 #\x85\u2028\u202e\u200b\ufeff\ud800\udfff\ufe0f\U000e0041😀中ä$'
texts = st.one_of(st.text(st.sampled_from(_ODD_CHARACTERS)), st.text(st.characters(codec=None), max_size=8)).map(
    _joined
)
integers = st.one_of(
    st.integers(),
    st.sampled_from([0, 1, -1, 2**31 - 1, 2**31, -(2**31), 2**32 - 1, 2**32, 2**64 - 1, 2**64, E_FAIL, -(2**200)]),
)
handles = st.integers(-2, 9).map(Handle)
arguments: st.SearchStrategy[Argument] = st.one_of(
    st.none(), integers, texts, handles, st.floats(), st.booleans(), st.binary(), st.builds(Opaque, texts, texts)
)
outcomes = st.builds(
    Outcome,
    st.sampled_from(OutcomeKind),
    arguments,
    st.one_of(st.just(0), st.integers(-(10**6), 10**13)),
    texts,
    texts,
    st.lists(arguments, max_size=3).map(tuple),
)
plain: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), integers, texts, st.floats(), st.booleans(), st.binary()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(texts, st.sampled_from(["$bytes", "$map", ""])), inner, max_size=3),
        st.dictionaries(st.one_of(st.integers(), st.binary()), inner, max_size=2),
    ),
    max_leaves=6,
)
names = st.one_of(texts, st.text(string.ascii_letters, min_size=1)).filter(lambda name: name != "interface")
maps = st.dictionaries(texts, plain, max_size=3)


@st.composite
def headers(draw: st.DrawFn) -> Header:
    return Header(
        interface=draw(st.sampled_from([SYNC, SYNC, EVERYTHING, IUNKNOWN])),
        created_ns=draw(st.integers(0, 2**64)),
        tick_ns=draw(st.sampled_from([1, 100, 1024, 10**9])),
        pointer_size=draw(st.sampled_from([4, 8])),
        sync_flags=draw(st.one_of(st.none(), st.integers(0, 2**32 - 1))),
        scheduled=draw(st.booleans()),
        redaction=draw(st.one_of(st.none(), texts)),
        process=draw(maps),
        target=draw(maps),
        provenance=draw(maps),
        extra=draw(st.dictionaries(names, plain, max_size=2)),
    )


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    header = draw(headers())
    threads = draw(st.lists(st.builds(Thread, st.integers(), texts), max_size=3))
    events: list[Event] = []
    running: list[int] = []
    numbers = draw(st.sampled_from([range(0, 99), range(0, 99), range(5, 999, 7)]))
    methods = st.sampled_from([m.name for m in header.interface.slots])
    steps = draw(st.lists(st.sampled_from(["enter", "leave", "call"]), max_size=10 if threads else 0))
    for step in steps:
        number = numbers[sum(isinstance(event, Enter) for event in events)]
        if step == "leave":
            if running:
                events.append(Leave(running.pop(draw(st.integers(0, len(running) - 1))), draw(outcomes)))
            continue
        args = tuple(draw(st.lists(arguments, max_size=4)))
        time_ns = draw(st.integers(-(10**3), 10**15))
        thread = draw(st.integers(0, len(threads) - 1))
        switches = draw(st.lists(st.integers(-(2**63), 2**64 - 1), max_size=2))
        events.append(Enter(number, Call(draw(methods), args, thread, time_ns, tuple(switches))))
        if step == "call":
            events.append(Leave(number, draw(outcomes)))
        else:
            running.append(number)
    return Trace(header, tuple(events), tuple(threads))


@settings(max_examples=250, deadline=None)
@given(traces())
def test_every_trace_comes_back(trace: Trace) -> None:
    text = to_text(trace)
    assert repr(from_text(text)) == repr(trace)  # repr: nan is nan, and True is not 1
    assert to_text(from_text(text)) == text
    assert all(c.isprintable() or c == "\n" for c in text)
    text.encode()


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(traces(), st.data())
def test_a_damaged_text_gives_nothing_but_our_error(trace: Trace, data: st.DataObject) -> None:
    text = to_text(trace)
    start, length = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 5))
    patch = data.draw(st.text(st.sampled_from(text + '"\\{}[]().:#->0x'), max_size=4))
    damaged = text[:start] + patch + text[start + length :]
    try:
        again = from_text(damaged)
    except TextError:
        return
    from_text(to_text(again))


@given(st.sampled_from(EVERYTHING.slots), st.lists(arguments, max_size=12))
def test_every_call_comes_back(method: Method, args: list[Argument]) -> None:
    call = Call(method.name, tuple(args))
    assert repr(parse_call(call_text(call, EVERYTHING), EVERYTHING)) == repr(call)


@given(st.text())
def test_any_text_at_all(text: str) -> None:
    with pytest.raises((TextError, InterfaceError)):
        from_text("synctape 1\nProgress(" + text.replace(")", ""))
