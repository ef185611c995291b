// A host that misuses memory on request: Progress(_, n, _) makes mistake n, each in a function named for it.
//
//     c++ -std=c++17 -g -fsanitize=address,undefined -I../../../examples/native -fPIC -shared -o misuses.so misuses.cpp
#include <cstdlib>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "host.h"

namespace {

volatile int sink;
int table[4];
void *volatile seen;  // what was stored here is not optimised away

#define APART __attribute__((noinline))

APART void writes_behind(int n) {
    int *block = new int[4];
    seen = block;
    block[n + 3] = n;
    delete[] block;
}

APART void uses_freed(int n) {
    int *block = new int[4];
    delete[] block;
    sink = block[n - 1];
}

APART void frees_twice(int n) {
    char *block = static_cast<char *>(std::malloc(16));
    seen = block;
    std::free(block);
    if (n) std::free(block);
}

APART void copies_too_much(int n) {
    char *block = static_cast<char *>(std::malloc(8));
    seen = block;
    char copy[64];
    std::memcpy(copy, block, static_cast<std::size_t>(n + 5));
    sink = copy[0];
    std::free(block);
}

APART void overruns_stack(int n) {
    volatile int local[4] = {0, 1, 2, 3};
    int *from = const_cast<int *>(local);
    seen = from;
    sink = from[n];
}

APART void overruns_global(int n) {
    int *from = table;
    seen = from;
    sink = from[n];
}

APART void mixes_new_and_free(int n) {
    char *block = new char[static_cast<std::size_t>(n)];
    seen = block;
    std::free(block);
}

APART void writes_nowhere(int n) { *reinterpret_cast<volatile int *>(static_cast<std::uintptr_t>(n) * 32) = n; }

APART int overflows(int n) { return n + 2147483640; }

APART int divides(int n) { return 7 / (n - 10); }

APART int recurses(int n) {
    volatile char room[4096];
    room[n] = static_cast<char>(n);
    return recurses(n) + room[n];
}

APART void grows() {
    for (;;) {
        char *block = static_cast<char *>(std::malloc(1 << 20));
        seen = block;
        std::memset(block, 1, 1 << 20);
    }
}

APART int throws(int n) {
    try {
        if (n) throw std::runtime_error("caught at once");
    } catch (const std::exception &) {
        return 1;
    }
    return 0;
}

APART void reads_old_element(int n) {
    std::vector<int> numbers{1, 2, 3};
    const std::vector<int>::iterator first = numbers.begin();
    numbers.resize(static_cast<std::size_t>(n) * 100);
    sink = *first;
}

}  // namespace

struct Misuses : Host {
    HRESULT STDMETHODCALLTYPE Progress(const WCHAR *text, ULONG index, ULONG maximum) override {
        const int n = static_cast<int>(index);
        switch (n) {
            case 1: writes_behind(n); break;
            case 2: uses_freed(n); break;
            case 3: frees_twice(n); break;
            case 4: copies_too_much(n); break;
            case 5: overruns_stack(n); break;
            case 6: overruns_global(n); break;
            case 7: mixes_new_and_free(n); break;
            case 8: writes_nowhere(n); break;
            case 9: sink = overflows(n); break;
            case 10: sink = divides(n); break;
            case 11: sink = recurses(n); break;
            case 12: grows(); break;
            case 13: sink = throws(n); break;
            case 14: std::abort();
            case 15: std::_Exit(1);
            case 16: reads_old_element(n); break;
            case 17: return std::getenv("LD_PRELOAD") || std::getenv("ASAN_OPTIONS") ? E_FAIL : S_OK;
            default: break;
        }
        return Host::Progress(text, index, maximum);
    }
};

EXPORT_OBJECT(Misuses)
