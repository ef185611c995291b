"""Export as a C++17 program: one file that needs a compiler and the reader's callback, and nothing of ours.

The interface becomes an abstract class, each call a case of one function; around them stands a small player:
threads that make the calls one by one, texts against inaccessible pages, real handles and what became of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from recorder import hresult
from recorder.abi import check
from recorder.calls import Argument, Handle
from recorder.interface import Interface, Parameter, Type
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
        "REFERENCES": _bool(script.kept_for("references")),
        "IDENTITY": _bool(script.kept_for("identity")),
        "SLOW": _bool(script.kept_for("slow")),
    }
    return re.sub(r"@([A-Z]+)@", lambda found: parts[found[1]], _PROGRAM)


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
        called = f"callback->{_member(script.interface, script.interface.slot[step.method.name])}({arguments})"
        yield f"    case {step.number}:  // {step.text}"
        if step.method.returns is Type.HRESULT:
            yield f"        return {called};"
        else:
            yield f"        {called};"
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
#include <sys/mman.h>
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
const Guid unknown_id = {0, 0, 0, {0xc0, 0, 0, 0, 0, 0, 0, 0x46}};

const int patience = 10;  // seconds after which a call hangs
const bool judge_references = @REFERENCES@;
const bool judge_identity = @IDENTITY@;
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
        made.identity = identity(made.number);
        given_[token] = made;
        return value(made.number);
    }

    void after_call() {
        for (auto &entry : given_) {
            Given &given = entry.second;
            if (given.closed)
                continue;
            const Identity found = identity(given.number);
            if (found == given.identity)
                continue;
            given.closed = true;
            if (found == nothing && take(given.number)) {
                given.planted = true;
                given.identity = identity(given.number);
            }
        }
    }

    bool closed_twice(long long token) const {
        const auto found = given_.find(token);
        return found != given_.end() && found->second.planted &&
               identity(found->second.number) != found->second.identity;
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
    using Identity = std::pair<std::uint64_t, std::uint64_t>;

    struct Given {
        std::intptr_t number = 0;
        Identity identity;
        bool closed = false;
        bool planted = false;
    };

    static void *value(std::intptr_t number) { return reinterpret_cast<void *>(number); }

#ifdef _WIN32
    static std::intptr_t create() {
        return reinterpret_cast<std::intptr_t>(CreateEventW(nullptr, TRUE, FALSE, nullptr));
    }

    static Identity identity(std::intptr_t number) {
        DWORD flags = 0;
        return GetHandleInformation(value(number), &flags) ? Identity(1, 0) : nothing;
    }

    static bool take(std::intptr_t number) {
        for (int attempt = 0; attempt < 16; attempt++)
            if (create() == number)
                return true;
        return false;
    }
#else
    static std::intptr_t create() {
        int ends[2];
        if (pipe(ends) != 0)
            std::abort();
        return ends[0];
    }

    static Identity identity(std::intptr_t number) {
        struct stat status;
        if (fstat(static_cast<int>(number), &status) != 0)
            return nothing;
        return Identity(static_cast<std::uint64_t>(status.st_dev), static_cast<std::uint64_t>(status.st_ino));
    }

    static bool take(std::intptr_t number) {
        const std::intptr_t stranger = create();
        if (stranger != number) {
            dup2(static_cast<int>(stranger), static_cast<int>(number));
            close(static_cast<int>(stranger));
        }
        return true;
    }
#endif

    static const Identity nothing;
    std::map<long long, Given> given_;
};

const Handles::Identity Handles::nothing(0, 0);

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
    static std::set<long long> told;
    for (const long long token : handles.tokens())
        if (handles.closed_twice(token) && told.insert(token).second)
            problem("a handle was closed twice");
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
        handles.after_call();
        std::printf("%5s -> 0x%08lX\n", "", static_cast<unsigned long>(static_cast<std::uint32_t>(result)));
        judge(step, result, thrown, took);
    }
    for (const long long token : closes)
        if (handles.left_open(token))
            problem("a handle was never closed");
}

void check_identity(@NAME@ *callback) {
    static const Guid nobody = {0x5ca1ab1eu, 0, 0, {0, 0, 0, 0, 0, 0, 0, 1}};
    void *same = nullptr, *first = nullptr, *second = nullptr, *other = &other;
    if (callback->QueryInterface(&interface_id, &same) != 0 || same == nullptr)
        problem("QueryInterface does not know its own interface");
    if (callback->QueryInterface(&unknown_id, &first) != 0 || callback->QueryInterface(&unknown_id, &second) != 0)
        problem("QueryInterface does not know IUnknown");
    else if (first != second)
        problem("QueryInterface gives IUnknown two pointers");
    if (callback->QueryInterface(&nobody, &other) != hr(0x80004002u) || other != nullptr)
        problem("QueryInterface does not refuse an unknown interface with E_NOINTERFACE and NULL");
    if (callback->QueryInterface(&interface_id, nullptr) >= 0)
        problem("QueryInterface takes a NULL for its result");
    for (void *const got : {same, first, second})
        if (got != nullptr)
            static_cast<@NAME@ *>(got)->Release();
}

void check_references(@NAME@ *callback) {
    const std::uint32_t more = callback->AddRef();
    const std::uint32_t less = callback->Release();
    if (less + 1 != more)
        problem("AddRef and Release do not agree");
}

}  // namespace

#ifdef FACTORY
extern "C" std::int32_t FACTORY(void **ppv);
#endif

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
    if (found == nullptr)
        std::fprintf(stderr, "%s: cannot be loaded, or has no %s\n", arguments[1], arguments[2]);
    return reinterpret_cast<Factory>(found);
#endif
}

// The callback behind the interface that was asked for, with one reference; NULL if there is none.
@NAME@ *instance(Factory make_one) {
    void *made = nullptr, *asked = nullptr;
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
    std::atexit(exited);
    if (judge_identity)
        check_identity(callback);
    play(callback);
    if (judge_identity)
        check_identity(callback);
    if (judge_references)
        check_references(callback);
    const std::uint32_t left = callback->Release();
    if (judge_references && left != 0)
        problem("the callback is still there after the last Release");
    ended = true;
    std::printf("%s\n", problems ? "red" : "green");
    return problems ? 1 : 0;
}
"""
