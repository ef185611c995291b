// Hosts that live in a pool for ever: a released one keeps its memory, and is given out again only when every other
// one has been.  A late call on it finds an object, though a closed one.
#pragma once

#include "host.h"

template <class Self> struct Pooled : Host {
    static constexpr std::size_t size = 4096;

    ULONG STDMETHODCALLTYPE AddRef() override { return references == 0 ? 0 : Host::AddRef(); }

    ULONG STDMETHODCALLTYPE Release() override {
        if (references == 0) return 0;
        const ULONG left = --references;
        if (left == 0) {
            static_cast<Self *>(this)->shut();
            Text().swap(this->step);
            this->problems = {};
            open_objects--;
        }
        return left;
    }

    static HRESULT give(void **ppv) {
        if (ppv == nullptr) return E_POINTER;
        *ppv = nullptr;
        for (std::size_t tried = 0; tried < size; tried++) {
            Self &free = pool()[next++ % size];
            if (free.references != 0) continue;
            free.percent = 0;
            free.done = false;
            free.references = 1;
            free.open();
            open_objects++;
            *ppv = &free;
            return S_OK;
        }
        return E_OUTOFMEMORY;
    }

    static Self *pool() {
        static Self *const objects = [] {
            Self *made = new Self[size];
            for (std::size_t at = 0; at < size; at++) made[at].references = 0;
            return made;
        }();
        return objects;
    }

    static inline std::atomic<std::size_t> next{0};
    static inline std::atomic<ULONG> open_objects{0};
};

#define EXPORT_POOLED(Object)                                            \
    EXPORT HRESULT create(void **ppv) { return Object::give(ppv); }      \
    EXPORT ULONG create_live() { return Object::open_objects; }
