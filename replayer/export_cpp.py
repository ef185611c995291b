"""Export as a C++17 program: one file that needs a compiler and the reader's callback, and nothing of ours.

The interface becomes an abstract class, each call a case of one function; around them stands a small player:
threads that make the calls one by one, texts against inaccessible pages, real handles and what became of them.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator
from typing import Final

from recorder import hresult
from recorder.abi import check
from recorder.calls import Argument, Handle
from recorder.interface import Interface, Parameter, Type
from recorder.interfaces import IUNKNOWN
from replayer.export import Form, Script, Step

__all__ = ["CPP", "text_literal", "to_cpp"]

CPP: Final = Form(
    "cpp",
    frozenset(
        {"crash", "hang", "exception", "thread-exception", "exit", "slow", "failure", "handle"}
        | {"string-bounds", "string-lifetime", "stack-overflow", "sanitizer", "references", "identity"}
    ),
    exact=True,
)


def to_cpp(script: Script) -> str:
    """The program's source, in ASCII.  Raises InterfaceError for what no vtable can express."""
    check(script.interface)
    parts = {
        "PROMISE": "\n".join(f"// {line}".rstrip() for line in script.promise()),
        "INTERFACE": "\n".join(_interface(script.interface)),
        "NAME": _class_name(script.interface),
        "IID": _guid(script.interface.iid),
        "TEXTS": "".join(_long_texts(script.made)),
        "STEPS": "\n".join(_table(script.made)),
        "CASES": "\n".join(_cases(script)),
        "CLOSES": ", ".join(map(str, script.closes)),
        "SPARE": str(_spare(script)),
        "LOOK": "",
        "LOOKED": "",
        "LOOKAGAIN": "",
        "LINKEDLIVE": "",
        "LOADEDLIVE": "",
        "LIVEBEFORE": "",
        "GIVEBACK": "    while (held-- > 0)\n        callback->Release();",
        "SLOW": _bool(script.kept_for("slow")),
    }
    if script.kept_for("identity"):
        parts |= {"LOOK": _IDENTITY, "LOOKED": "    look(callback);\n", "LOOKAGAIN": "    look(callback);\n"}
        parts |= dict(zip(("OWN", "STRANGERS", "NEAR"), _iids(script.interface), strict=True))
    if script.kept_for("references"):
        parts |= {"LOOK": _REFERENCES, "LOOKED": _COUNTED, "GIVEBACK": "    give_back(callback);"}
        parts |= {"LINKEDLIVE": _LINKED_LIVE, "LOADEDLIVE": _LOADED_LIVE, "LIVEBEFORE": _LIVE_BEFORE}
    return re.sub(r"@([A-Z]+)@", lambda found: parts[found[1]], _PROGRAM.replace("@LOOK@", parts["LOOK"]))


def _spare(script: Script) -> int:
    """References to take before the calls, so that the object outlives them.

    One for each Release of theirs; where references are judged one for each call that might release one, so that
    it shows as a count that is too low.
    """
    releases = sum(step.method.name == _RELEASE for step in script.made)
    return max(releases, min(len(script.made), _MOST_SPARE)) if script.kept_for("references") else releases


_MOST_SPARE: Final = 64
_QUERY, _ADD, _RELEASE = (method.name for method in IUNKNOWN.methods)


def _iids(interface: Interface) -> Iterator[str]:
    """IIDs as rows of a table: of the interface and what it derives from, of nobody, and one off its own."""
    lineage: list[str] = []
    base: Interface | None = interface
    while base is not None:
        lineage.append(base.iid)
        base = base.base
    first, *rest = interface.guid.bytes_le
    yield _rows([*lineage, IUNKNOWN.iid])
    yield _rows(str(uuid.UUID(bytes=data)) for data in (bytes(16), b"\xff" * 16, interface.guid.bytes_le))
    yield _rows(str(uuid.UUID(bytes_le=bytes([(first + step) % 256, *rest]))) for step in (-1, 1))


def _rows(iids: Iterable[str]) -> str:
    return "\n".join(f"    {_guid(iid)}," for iid in dict.fromkeys(iids))


def _bool(value: bool) -> str:
    return "true" if value else "false"


# --- the interface -------------------------------------------------------------------------------------------

_TYPES: Final = {
    Type.VOID: "void",
    Type.BOOL: "std::int32_t",
    Type.I32: "std::int32_t",
    Type.U32: "std::uint32_t",
    Type.I64: "std::int64_t",
    Type.U64: "std::uint64_t",
    Type.HRESULT: "Result",
    Type.TEXT: "const char16_t *",
    Type.HANDLE: "void *",
    Type.POINTER: "void *",
    Type.IID: "const Guid *",
}

_PLAIN_NAME: Final = re.compile(r"[A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*")
_TAKEN: Final = frozenset({"Result", "Guid", "Yield", "Replay", "Handles", "Step", "Text", "Lane"})


def _interface(interface: Interface) -> Iterator[str]:
    """An abstract class whose virtual functions are the vtable; a virtual destructor would be a slot."""
    yield f"// {interface.iid}"
    yield f"struct {_class_name(interface)} {{"
    for slot, method in enumerate(interface.slots):
        types = ", ".join(_declared(p) for p in method.parameters)
        names = ", ".join(p.name for p in method.parameters if p.name.isascii() and p.name.isidentifier())
        declared = f"    virtual {_spaced(_TYPES[method.returns])}METHOD {_member(interface, slot)}({types}) = 0;"
        yield f"{declared}  // {names}" if names else declared
    yield "};"


def _spaced(type_name: str) -> str:
    return type_name if type_name.endswith("*") else f"{type_name} "


def _declared(parameter: Parameter) -> str:
    base = _TYPES[parameter.type]
    return f"{_spaced(base)}*" if parameter.is_out or parameter.pointer else base


def _class_name(interface: Interface) -> str:
    plain = _PLAIN_NAME.fullmatch(interface.name) and interface.name not in _TAKEN
    return interface.name if plain else "Callback"


def _member(interface: Interface, slot: int) -> str:
    """A method's name where C++ and the system's headers let it be one, else its slot's."""
    name = interface.slots[slot].name
    plain = _PLAIN_NAME.fullmatch(name) and name not in _TAKEN and name != _class_name(interface)
    return name if plain else f"slot{slot}"


def _guid(iid: str) -> str:
    first, second, third, fourth, fifth = iid.strip("{}").lower().split("-")
    tail = fourth + fifth
    bytes_ = ", ".join(f"0x{tail[i : i + 2]}" for i in range(0, 16, 2))
    return f"{{0x{first}u, 0x{second}, 0x{third}, {{{bytes_}}}}}"


# --- texts ---------------------------------------------------------------------------------------------------

_LONGEST_LITERAL: Final = 2000  # UTF-16 units: MSVC takes literals of up to 16380 bytes
_LINE_UNITS: Final = 12

_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "?": "\\?"}


def _units(text: str) -> memoryview:
    return memoryview(text.encode("utf-16-le", "surrogatepass")).cast("H")


def text_literal(text: str) -> str:
    """The text as a literal of exactly its UTF-16 units: ASCII, without trigraphs, lone surrogates by value."""
    pieces = [""]
    units = _units(text)
    at = 0
    while at < len(units):
        unit = units[at]
        following = units[at + 1] if at + 1 < len(units) else 0
        at += 1
        if 0xD800 <= unit < 0xDC00 <= following < 0xE000:
            pieces[-1] += f"\\U{0x10000 + ((unit - 0xD800) << 10) + following - 0xDC00:08x}"
            at += 1
        elif 0xD800 <= unit < 0xE000:
            pieces[-1] += f"\\x{unit:04x}"
            pieces.append("")  # a hexadecimal escape takes every digit that follows
        elif unit < 0x20 or 0x7F <= unit < 0xA0:
            pieces[-1] += _ESCAPES.get(chr(unit)) or f"\\{unit:03o}"
        else:
            pieces[-1] += _ESCAPES.get(chr(unit)) or (chr(unit) if unit < 0x7F else f"\\u{unit:04x}")
    if len(pieces) > 1 and not pieces[-1]:
        pieces.pop()
    return " ".join(f'u"{piece}"' for piece in pieces)


def _is_long(value: Argument) -> bool:
    return isinstance(value, str) and len(_units(value)) > _LONGEST_LITERAL


def _long_texts(steps: Iterable[Step]) -> Iterator[str]:
    """Texts that are too long for a literal, as arrays."""
    for step in steps:
        for position, value in enumerate(step.call.args):
            if isinstance(value, str) and _is_long(value):
                units = [f"0x{unit:x}" for unit in (*_units(value), 0)]
                rows = (", ".join(units[i : i + _LINE_UNITS]) + "," for i in range(0, len(units), _LINE_UNITS))
                body = "\n    ".join(rows)
                yield f"const char16_t {_long_name(step, position)}[] = {{\n    {body}\n}};\n\n"


def _long_name(step: Step, position: int) -> str:
    return f"text_{step.number}_{position}"


# --- the calls -----------------------------------------------------------------------------------------------


def _table(steps: Iterable[Step]) -> Iterator[str]:
    for step in steps:
        name = step.method.name if step.method.name.isascii() and step.method.name.isidentifier() else "?"
        yield f'    {{{step.number}, {step.call.thread}, {_bool(step.succeeds)}, "{name}"}},'


def _cases(script: Script) -> Iterator[str]:
    for step in script.steps:
        if not isinstance(step, Step):
            yield f"    // {step.number}: {step.text} is not made: {step.reason}"
            continue
        arguments = ", ".join(_arguments(step))
        if step.method.name == _QUERY:
            yield f"    case {step.number}:  // {step.text}"
            yield f"        return query(callback, {next(_arguments(step))});"
            continue
        called = f"callback->{_member(script.interface, script.interface.slot[step.method.name])}({arguments})"
        yield f"    case {step.number}:  // {step.text}"
        if step.method.returns is Type.HRESULT:
            yield f"        return {called};"
        else:
            yield f"        {called};"
            if step.method.name in (_ADD, _RELEASE):
                yield f"        held{'++' if step.method.name == _ADD else '--'};"
            yield "        return 0;"


def _arguments(step: Step) -> Iterator[str]:
    values = iter(enumerate(step.call.args))
    for parameter in step.method.parameters:
        if parameter.is_out:
            yield f"cell<{_TYPES[parameter.type].strip()}>()"
            continue
        position, value = next(values)
        if value is None:
            yield "nullptr"
        elif parameter.pointer:
            yield f"cell<{_TYPES[parameter.type]}>({_scalar(parameter.type, value)})"
        elif isinstance(value, Handle):
            yield f"handles.live({_scalar(Type.I64, value.token)})"
        elif isinstance(value, str) and parameter.type is Type.IID:
            yield f"cell<Guid>({_guid(value)})"
        elif isinstance(value, str):
            yield f"text({_long_name(step, position) if _is_long(value) else text_literal(value)})"
        else:
            yield _scalar(parameter.type, value)


def _scalar(kind: Type, value: Argument) -> str:
    """An integer as C++ writes it; the smallest ones have no literal."""
    number = int(value) if isinstance(value, int) else 0
    if kind is Type.HRESULT:
        return f"hr(0x{hresult.unsigned(number):08X}u)"
    suffix = {Type.U32: "u", Type.U64: "ull", Type.I64: "ll"}.get(kind, "")
    if number < 0 and number == kind.range[0]:
        return f"({number + 1}{suffix} - 1)"
    return f"{number}{suffix}"


_PROGRAM: Final = r"""@PROMISE@
//
// The callback comes from a factory, HRESULT create(void **ppv), under any name. Link it:
//
//     g++ -std=c++17 -pthread -DFACTORY=create -o replay THIS_FILE your_callback.cpp && ./replay
//     cl /std:c++17 /EHsc /DFACTORY=create THIS_FILE your_callback.cpp
//
// or load it from a library:
//
//     g++ -std=c++17 -pthread -o replay THIS_FILE -ldl && ./replay path/library.so create
//     cl /std:c++17 /EHsc THIS_FILE, then THIS_FILE.exe path\library.dll create
//
// Exit code: 0 green, 1 red, 2 no callback to test; a crash is red, too. Handles are events on Windows, elsewhere
// descriptors standing for them.

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#ifdef _WIN32
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#ifndef NOMINMAX
#define NOMINMAX
#endif
#include <windows.h>
#define METHOD __stdcall
#else
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#define METHOD
#endif

namespace {

using Result = std::int32_t;  // HRESULT: failed if it is negative

struct Guid {
    std::uint32_t first;
    std::uint16_t second, third;
    std::uint8_t rest[8];
};

@INTERFACE@

const Guid interface_id = @IID@;

const int patience = 10;  // seconds after which a call hangs
const bool judge_time = @SLOW@;  // a call that takes over a second is too slow

// --- what is passed -----------------------------------------------------------------------------------------

[[maybe_unused]] constexpr Result hr(std::uint32_t value) {
    return static_cast<Result>(value);
}

// A value that is passed by address.
template <typename T> [[maybe_unused]] T *cell(T value = T()) {
    static std::deque<T> cells;
    cells.push_back(value);
    return &cells.back();
}

// A text as strict as a caller may be: it ends at an inaccessible page, cannot be written to, and is gone when
// its call has returned. So reading past the end, writing, and keeping the pointer all crash.
class Text {
public:
    Text(const char16_t *units, std::size_t size) {
#ifdef _WIN32
        SYSTEM_INFO system;
        GetSystemInfo(&system);
        const std::size_t page = system.dwPageSize;
#else
        const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
#endif
        length_ = (size + page - 1) / page * page;
#ifdef _WIN32
        DWORD before;
        base_ = static_cast<char *>(VirtualAlloc(nullptr, length_ + page, MEM_RESERVE, PAGE_NOACCESS));
        if (base_ == nullptr || VirtualAlloc(base_, length_, MEM_COMMIT, PAGE_READWRITE) == nullptr)
            std::abort();
#else
        void *const got = mmap(nullptr, length_ + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (got == MAP_FAILED || mprotect(got, length_, PROT_READ | PROT_WRITE) != 0)
            std::abort();
        base_ = static_cast<char *>(got);
#endif
        start_ = base_ + length_ - size;
        std::memcpy(start_, units, size);
#ifdef _WIN32
        VirtualProtect(base_, length_, PAGE_READONLY, &before);
#else
        mprotect(base_, length_, PROT_READ);
#endif
    }

    const char16_t *start() const { return reinterpret_cast<const char16_t *>(start_); }

    // Give the memory back, but never the addresses.
    void end() {
#ifdef _WIN32
        VirtualFree(base_, length_, MEM_DECOMMIT);
#else
        if (mmap(base_, length_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
            std::abort();
#endif
    }

private:
    char *base_ = nullptr;
    char *start_ = nullptr;
    std::size_t length_ = 0;
};

std::vector<Text> texts;  // of the call that is running

template <std::size_t N> [[maybe_unused]] const char16_t *text(const char16_t (&units)[N]) {
    texts.emplace_back(units, sizeof units);
    return texts.back().start();
}

// Handles by number, and what became of them. The value of a closed handle is taken by a stranger at once, so
// that a second close hits something whose absence shows.
class Handles {
public:
    void *live(long long token) {
        if (token < 0)  // a pseudo-handle
            return reinterpret_cast<void *>(static_cast<std::intptr_t>(token));
        const auto found = given_.find(token);
        if (found != given_.end())
            return value(found->second.number);
        Given made;
        made.number = create();
        remember(made);
        given_[token] = made;
        return value(made.number);
    }

    void after_call() {
        for (auto &entry : given_) {
            Given &given = entry.second;
            if (given.watched && !given.used && keeps(given))
                given.used = touched(given);
            if (given.closed || keeps(given))
                continue;
            given.closed = true;
            given.watched = is_free(given.number) && take(given);
            if (given.watched)
                remember(given);
        }
    }

    bool closed_twice(long long token) const {
        const auto found = given_.find(token);
        return found != given_.end() && found->second.watched && !keeps(found->second);
    }

    bool used_closed(long long token) const {
        const auto found = given_.find(token);
        return found != given_.end() && found->second.used;
    }

    bool left_open(long long token) const {
        const auto found = given_.find(token);
        return found != given_.end() && !found->second.closed;
    }

    std::vector<long long> tokens() const {
        std::vector<long long> all;
        for (const auto &entry : given_)
            all.push_back(entry.first);
        return all;
    }

private:
#ifdef _WIN32
    using Identity = HANDLE;  // another handle of it: any thread of the process may take a closed one's value
#else
    using Identity = std::pair<std::uint64_t, std::uint64_t>;
#endif

    struct Given {
        std::intptr_t number = 0;
        Identity identity = Identity();  // of what the number stands for
        bool closed = false;
        bool watched = false;  // a stranger has its value
        bool used = false;
        std::intptr_t end = -1;  // the other end of the stranger
        int looks = 0;
    };

    static void *value(std::intptr_t number) { return reinterpret_cast<void *>(number); }

#ifdef _WIN32
    static std::intptr_t create(bool manual = true) {
        return reinterpret_cast<std::intptr_t>(CreateEventW(nullptr, manual, FALSE, nullptr));
    }

    static bool is_free(std::intptr_t number) {
        DWORD flags = 0;
        return !GetHandleInformation(value(number), &flags);
    }

    static void remember(Given &given) {
        const HANDLE process = GetCurrentProcess(), before = given.identity;
        given.identity = nullptr;
        DuplicateHandle(process, value(given.number), process, &given.identity, 0, FALSE, DUPLICATE_SAME_ACCESS);
        if (before != nullptr)
            CloseHandle(before);
    }

    static bool keeps(const Given &given) {
        static const HMODULE library = GetModuleHandleA("kernelbase.dll");
        static void *const found =  // Windows 10
            library ? reinterpret_cast<void *>(GetProcAddress(library, "CompareObjectHandles")) : nullptr;
        if (found == nullptr)
            return !is_free(given.number);
        return reinterpret_cast<BOOL(WINAPI *)(HANDLE, HANDLE)>(found)(value(given.number), given.identity) != 0;
    }

    static bool take(Given &given) {
        for (int attempt = 0; attempt < 16; attempt++)
            if (create(false) == given.number)
                return true;
        return false;
    }

    // Whether the stranger was set, reset or waited for: it is left signalled at every third look.
    static bool touched(Given &given) {
        const bool signalled = WaitForSingleObject(value(given.number), 0) == WAIT_OBJECT_0;
        if (signalled != (given.looks % 3 == 2))
            return true;
        if (++given.looks % 3 == 2)
            SetEvent(value(given.number));
        return false;
    }
#else
    static std::intptr_t create(std::intptr_t *other = nullptr) {
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
            std::abort();
        for (const int end : ends)
            fcntl(end, F_SETFL, O_NONBLOCK);
        if (other != nullptr)
            *other = ends[1];
        return ends[0];
    }

    static Identity identity(std::intptr_t number) {
        struct stat status;
        if (fstat(static_cast<int>(number), &status) != 0)
            return Identity(0, 0);
        return Identity(static_cast<std::uint64_t>(status.st_dev), static_cast<std::uint64_t>(status.st_ino));
    }

    static bool is_free(std::intptr_t number) { return identity(number) == Identity(0, 0); }

    static void remember(Given &given) { given.identity = identity(given.number); }

    static bool keeps(const Given &given) { return identity(given.number) == given.identity; }

    static bool take(Given &given) {
        const std::intptr_t stranger = create(&given.end);
        if (stranger != given.number) {
            dup2(static_cast<int>(stranger), static_cast<int>(given.number));
            close(static_cast<int>(stranger));
        }
        return send(static_cast<int>(given.end), content, sizeof content, 0) == sizeof content;
    }

    // Whether the stranger was read, so that its content is gone, or written to, so that something arrives.
    static bool touched(Given &given) {
        char seen[2 * sizeof content];
        return recv(static_cast<int>(given.end), seen, sizeof seen, 0) > 0 ||
               recv(static_cast<int>(given.number), seen, sizeof seen, MSG_PEEK) != sizeof content;
    }

    static constexpr char content[8] = {'s', 't', 'r', 'a', 'n', 'g', 'e', 'r'};
#endif

    std::map<long long, Given> given_;
};

Handles handles;

// --- the calls ----------------------------------------------------------------------------------------------

@TEXTS@struct Step {
    int number;
    int thread;
    bool succeeds;  // a failure is wrong here: the calls up to this one keep to the contract
    const char *method;
};

const Step steps[] = {
@STEPS@
};

const std::set<long long> closes = {@CLOSES@};  // handles that the callback has to close

long held = 1 + @SPARE@;  // references: one from the factory, the others taken before the calls

// IUnknown's question. The pointer of another identity is given back at once.
[[maybe_unused]] Result query(@NAME@ *callback, const Guid *asked) {
    void *got = nullptr;
    const Result result = callback->QueryInterface(asked, &got);
    if (result >= 0 && got == callback)
        held++;
    else if (result >= 0 && got != nullptr)
        static_cast<@NAME@ *>(got)->Release();
    return result;
}

Result make(@NAME@ *callback, int number) {
    switch (number) {
@CASES@
    default:
        return 0;
    }
}

// --- the player ---------------------------------------------------------------------------------------------

// A thread that makes the calls that it is given, one at a time.
class Lane {
public:
    Lane() : thread_([this] { loop(); }) {}
    Lane(const Lane &) = delete;
    Lane &operator=(const Lane &) = delete;

    ~Lane() {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            ending_ = true;
        }
        changed_.notify_all();
        thread_.join();
    }

    // Whether the work was done in time.
    bool run(std::function<void()> work) {
        std::unique_lock<std::mutex> lock(mutex_);
        work_ = std::move(work);
        changed_.notify_all();
        return changed_.wait_for(lock, std::chrono::seconds(patience), [this] { return !work_; });
    }

private:
    void loop() {
        std::unique_lock<std::mutex> lock(mutex_);
        for (;;) {
            changed_.wait(lock, [this] { return work_ || ending_; });
            if (!work_)
                return;
            const std::function<void()> work = work_;
            lock.unlock();
            work();
            lock.lock();
            work_ = nullptr;
            changed_.notify_all();
        }
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    std::function<void()> work_;
    bool ending_ = false;
    std::thread thread_;
};

int problems = 0;
bool ended = false;

void problem(const char *what) {
    problems++;
    std::printf("RED   %s\n", what);
    std::fflush(stdout);
}

// The callback has no business with exit().
void exited() {
    if (!ended) {
        problem("the callback ended the process");
        std::_Exit(1);
    }
}

void judge(const Step &step, Result result, const char *thrown, std::chrono::steady_clock::duration took) {
    if (thrown != nullptr)
        problem(thrown);
    else if (step.succeeds && result < 0)
        problem("a failure, though the calls up to here keep to the contract");
    if (judge_time && took > std::chrono::seconds(1))
        problem("took longer than a second");
}

void judge_handles() {
    static std::set<long long> told;
    handles.after_call();
    for (const long long token : handles.tokens()) {
        if (handles.closed_twice(token) && told.insert(token).second)
            problem("a handle was closed twice");
        if (handles.used_closed(token) && told.insert(token).second)
            problem("a handle was used after it had been closed");
    }
}

void play(@NAME@ *callback) {
    std::map<int, std::unique_ptr<Lane>> lanes;
    for (const Step &step : steps)
        if (!lanes[step.thread])
            lanes[step.thread] = std::make_unique<Lane>();
    for (const Step &step : steps) {
        Result result = 0;
        const char *thrown = nullptr;
        std::printf("%5d t%d %s\n", step.number, step.thread, step.method);
        std::fflush(stdout);  // the last line of a run that crashes is its call
        const auto started = std::chrono::steady_clock::now();
        const bool returned = lanes[step.thread]->run([&] {
            try {
                result = make(callback, step.number);
            } catch (...) {
                thrown = "an exception came out of the call";
            }
        });
        const auto took = std::chrono::steady_clock::now() - started;
        if (!returned) {
            problem("hangs");
            std::_Exit(1);
        }
        for (Text &text : texts)
            text.end();
        texts.clear();
        std::printf("%5s -> 0x%08lX\n", "", static_cast<unsigned long>(static_cast<std::uint32_t>(result)));
        judge(step, result, thrown, took);
        judge_handles();
    }
    for (const long long token : closes)
        if (handles.left_open(token))
            problem("a handle was never closed");
}

@LOOK@}  // namespace

#ifdef FACTORY
extern "C" std::int32_t FACTORY(void **ppv);
#endif
@LINKEDLIVE@
namespace {

using Factory = std::int32_t (*)(void **ppv);

Factory factory(int count, char **arguments) {
#ifdef FACTORY
    static_cast<void>(count);
    static_cast<void>(arguments);
    return &FACTORY;
#else
    if (count != 3) {
        std::fprintf(stderr, "usage: %s LIBRARY SYMBOL, or compile with -DFACTORY=name\n", arguments[0]);
        return nullptr;
    }
#ifdef _WIN32
    const HMODULE library = LoadLibraryA(arguments[1]);
    void *const found = library ? reinterpret_cast<void *>(GetProcAddress(library, arguments[2])) : nullptr;
#else
    void *const library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
    void *const found = library ? dlsym(library, arguments[2]) : nullptr;
#endif
@LOADEDLIVE@    if (found == nullptr)
        std::fprintf(stderr, "%s: cannot be loaded, or has no %s\n", arguments[1], arguments[2]);
    return reinterpret_cast<Factory>(found);
#endif
}

// The callback behind the interface that was asked for, with one reference; NULL if there is none.
@NAME@ *instance(Factory make_one) {
@LIVEBEFORE@    void *made = nullptr, *asked = nullptr;
    if (make_one == nullptr)
        return nullptr;
    if (make_one(&made) < 0 || made == nullptr) {
        std::fprintf(stderr, "the factory gives no callback\n");
        return nullptr;
    }
    @NAME@ *const first = static_cast<@NAME@ *>(made);  // as an IUnknown
    if (first->QueryInterface(&interface_id, &asked) < 0)
        asked = nullptr;
    first->Release();
    if (asked == nullptr)
        std::fprintf(stderr, "the factory's object does not speak the interface\n");
    return static_cast<@NAME@ *>(asked);
}

}  // namespace

int main(int count, char **arguments) {
    @NAME@ *const callback = instance(factory(count, arguments));
    if (callback == nullptr)
        return 2;
    for (long taken = 1; taken < held; taken++)
        callback->AddRef();
    std::atexit(exited);
@LOOKED@    play(callback);
@LOOKAGAIN@@GIVEBACK@
    judge_handles();  // the callback may have closed one as it went
    ended = true;
    std::printf("%s\n", problems ? "red" : "green");
    return problems ? 1 : 0;
}
"""

_IDENTITY: Final = r"""// The laws of QueryInterface (H1 to H4), asked before the calls and after them.
const Guid own[] = {
@OWN@
};
const Guid strangers[] = {
@STRANGERS@
};
const Guid near_ones[] = {
@NEAR@
};

void look(@NAME@ *callback) {
    static char stray;
    static std::vector<void *> before;
    std::vector<void *> given, all;
    const auto ask = [&all](void *whom, const Guid &iid, Result &result) {
        void *got = &stray;
        result = static_cast<@NAME@ *>(whom)->QueryInterface(&iid, &got);
        if (result < 0 && got != nullptr)
            problem("QueryInterface refuses and does not set *ppv to NULL");
        if (result >= 0 && (got == nullptr || got == &stray))
            problem("QueryInterface succeeds and gives no pointer");
        if (result < 0 || got == &stray)
            got = nullptr;
        if (got != nullptr)
            all.push_back(got);
        return got;
    };
    Result result = 0;
    std::vector<Guid> known;
    for (const Guid &iid : own) {
        void *const got = ask(callback, iid, result);
        given.push_back(got);
        if (result != 0)
            problem("QueryInterface does not answer S_OK for an interface of its own");
        if (got != nullptr)
            known.push_back(iid);
    }
    for (const Guid &iid : strangers)
        if (ask(callback, iid, result) != nullptr || result != hr(0x80004002u))
            problem("QueryInterface does not answer E_NOINTERFACE for an interface that does not exist");
    for (const Guid &iid : near_ones) {
        void *const got = ask(callback, iid, result);
        given.push_back(got);
        if (got == callback)
            problem("QueryInterface gives its own pointer for another interface");
        if (result < 0 && result != hr(0x80004002u))
            problem("QueryInterface refuses with another answer than E_NOINTERFACE");
        if (got != nullptr)
            known.push_back(iid);
    }
    const Guid &unknown = own[sizeof own / sizeof *own - 1];
    void *const one = ask(callback, unknown, result);
    for (void *const start : std::vector<void *>(given)) {
        if (start == nullptr)
            continue;
        if (ask(start, unknown, result) != one)
            problem("QueryInterface gives IUnknown more than one pointer");
        for (const Guid &iid : known)
            if (ask(start, iid, result) == nullptr)
                problem("QueryInterface is not reflexive, symmetric and transitive");
    }
    if (before.empty())
        before = given;
    for (std::size_t i = 0; i < given.size(); i++)
        if ((before[i] != nullptr) != (given[i] != nullptr))
            problem("QueryInterface answers otherwise than before the calls");
    result = callback->QueryInterface(&interface_id, nullptr);
    if (result != hr(0x80004003u) && result != hr(0x80070057u))
        problem("QueryInterface does not answer E_POINTER for a NULL ppv");
    for (void *const got : all)
        static_cast<@NAME@ *>(got)->Release();
}

"""

_REFERENCES: Final = r"""// What AddRef and Release answer (H5), believed where it is a count before the calls.
// A library that exports create_live beside create, the number of its objects, is asked that, too; one that is
// linked names it by -DLIVE=name.
bool counts = false;
std::uint32_t others = 0;  // references that are not ours
std::uint32_t (*live)() = nullptr;
std::uint32_t live_before = 0;

void count_references(@NAME@ *callback) {
    const std::uint32_t more = callback->AddRef(), less = callback->Release();
    counts = more == less + 1 && less >= static_cast<std::uint32_t>(held);
    others = less - static_cast<std::uint32_t>(held);
    if (!counts && live == nullptr)
        problem("AddRef and Release answer no counts");
}

void give_back(@NAME@ *callback) {
    std::uint32_t left = 0;
    if (counts) {
        for (int waits = 0; waits < 100; waits++) {  // for a thread that holds a reference a little longer
            const std::uint32_t more = callback->AddRef();
            left = callback->Release();
            if (more != left + 1)
                problem("AddRef and Release do not agree after the calls");
            if (more != left + 1 || left <= others + static_cast<std::uint32_t>(held))
                break;
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
        if (left < static_cast<std::uint32_t>(held)) {
            problem("the callback released references that its caller holds");
            held = static_cast<long>(left);
        }
    }
    for (; held > 0; held--)
        left = callback->Release();
    if (counts && left > others)
        problem("references are held that nobody gives back");
    for (int waits = 0; live != nullptr && live() > live_before && waits < 100; waits++)
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    if (live != nullptr && live() > live_before)
        problem("the callback is still there after the last Release");
}

"""

_COUNTED: Final = "    count_references(callback);\n"

_LINKED_LIVE: Final = """#ifdef LIVE
extern "C" std::uint32_t LIVE();
#endif
"""

_LOADED_LIVE: Final = """    if (found != nullptr) {
        const std::string name = std::string(arguments[2]) + "_live";
#ifdef _WIN32
        void *const counter = reinterpret_cast<void *>(GetProcAddress(library, name.c_str()));
#else
        void *const counter = dlsym(library, name.c_str());
#endif
        live = reinterpret_cast<std::uint32_t (*)()>(counter);
    }
"""

_LIVE_BEFORE: Final = """#ifdef LIVE
    live = &LIVE;
#endif
    if (live != nullptr)
        live_before = live();
"""
