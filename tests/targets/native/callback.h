/* IMAPISyncProgressCallback in C99: the ABI, and the IUnknown part of a host (interface.md, 1.2).
 *
 * A host is a struct whose first member is a Callback.  It writes Progress, Error and Done, puts them into a
 * CallbackVtbl beside callback_query_interface, callback_add_ref and callback_release, and exports
 *
 *     EXPORT int32_t create(void **ppv) { return callback_create(ppv, sizeof(Host), &vtbl); }
 *
 * Texts are UTF-16.  A HANDLE is an event on Windows; elsewhere it is a file descriptor cast to a pointer, and
 * NULL is no handle.
 *
 *     gcc -std=c99 -Wall -Wextra -Wpedantic -fPIC -shared -o good_host.so good_host.c
 */
#ifndef SYNCTAPE_CALLBACK_H
#define SYNCTAPE_CALLBACK_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#define METHOD __stdcall
#define EXPORT __declspec(dllexport)
__declspec(dllimport) int __stdcall CloseHandle(void *handle);
#else
#include <unistd.h>
#define METHOD
#define EXPORT __attribute__((visibility("default")))
#endif

#ifdef _MSC_VER
#include <intrin.h>
#define ATOMIC_ADD(counter, by) ((int32_t)_InterlockedExchangeAdd((volatile long *)(counter), (by)) + (by))
#define ATOMIC_TAKE(flag) _InterlockedExchange((volatile long *)(flag), 1)
#define ATOMIC_GIVE(flag) _InterlockedExchange((volatile long *)(flag), 0)
#else
#define ATOMIC_ADD(counter, by) __sync_add_and_fetch((counter), (by))
#define ATOMIC_TAKE(flag) __sync_lock_test_and_set((flag), 1)
#define ATOMIC_GIVE(flag) __sync_lock_release(flag)
#endif

#define S_OK ((int32_t)0)
#define E_NOINTERFACE ((int32_t)0x80004002u)
#define E_POINTER ((int32_t)0x80004003u)
#define E_OUTOFMEMORY ((int32_t)0x8007000Eu)

/* {5024a386-2d44-486a-81a8-8f0ecb6071dd} and {00000000-0000-0000-c000-000000000046}, as bytes in memory */
static const uint8_t IID_IMAPISyncProgressCallback[16] = {0x86, 0xa3, 0x24, 0x50, 0x44, 0x2d, 0x6a, 0x48,
                                                          0x81, 0xa8, 0x8f, 0x0e, 0xcb, 0x60, 0x71, 0xdd};
static const uint8_t IID_IUnknown[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0x46};

typedef struct Callback Callback;

typedef struct CallbackVtbl {
    int32_t(METHOD *QueryInterface)(Callback *self, const uint8_t *riid, void **ppv);
    uint32_t(METHOD *AddRef)(Callback *self);
    uint32_t(METHOD *Release)(Callback *self);
    int32_t(METHOD *Progress)(Callback *self, const uint16_t *text, uint32_t index, uint32_t maximum);
    int32_t(METHOD *Error)(Callback *self, int32_t result, const uint16_t *text);
    int32_t(METHOD *Done)(Callback *self, void *handle, int32_t result);
} CallbackVtbl;

struct Callback {
    const CallbackVtbl *vtbl;
    int32_t references;
    int32_t busy; /* taken by callback_lock */
    int32_t done; /* Done was called */
};

static inline uint32_t METHOD callback_add_ref(Callback *self) {
    return (uint32_t)ATOMIC_ADD(&self->references, 1);
}

static inline uint32_t METHOD callback_release(Callback *self) {
    const int32_t left = ATOMIC_ADD(&self->references, -1);
    if (left == 0)
        free(self);
    return (uint32_t)left;
}

static inline int32_t METHOD callback_query_interface(Callback *self, const uint8_t *riid, void **ppv) {
    if (ppv == NULL)
        return E_POINTER;
    *ppv = NULL;
    if (riid == NULL)
        return E_POINTER;
    if (memcmp(riid, IID_IMAPISyncProgressCallback, 16) != 0 && memcmp(riid, IID_IUnknown, 16) != 0)
        return E_NOINTERFACE;
    callback_add_ref(self);
    *ppv = self;
    return S_OK;
}

/* What each host exports: an object with one reference. */
EXPORT int32_t create(void **ppv);

/* Make a host of `size` zeroed bytes with one reference. */
static inline int32_t callback_create(void **ppv, size_t size, const CallbackVtbl *vtbl) {
    Callback *self;
    if (ppv == NULL)
        return E_POINTER;
    *ppv = self = calloc(1, size);
    if (self == NULL)
        return E_OUTOFMEMORY;
    self->vtbl = vtbl;
    self->references = 1;
    return S_OK;
}

static inline void callback_lock(Callback *self) {
    while (ATOMIC_TAKE(&self->busy)) {
    }
}

static inline void callback_unlock(Callback *self) {
    ATOMIC_GIVE(&self->busy);
}

static inline void close_handle(void *handle) {
#ifdef _WIN32
    CloseHandle(handle);
#else
    close((int)(intptr_t)handle);
#endif
}

/* The whole of a correct Done: the first call closes its handle, if it has one; a late one changes nothing. */
static inline int32_t METHOD callback_done(Callback *self, void *handle, int32_t result) {
    int32_t late;
    (void)result;
    callback_lock(self);
    late = self->done;
    self->done = 1;
    callback_unlock(self);
    if (!late && handle != NULL)
        close_handle(handle);
    return S_OK;
}

/* Progress and Error of a host that shows nothing. */
static inline int32_t METHOD callback_progress(Callback *self, const uint16_t *text, uint32_t index,
                                               uint32_t maximum) {
    (void)self, (void)text, (void)index, (void)maximum;
    return S_OK;
}

static inline int32_t METHOD callback_error(Callback *self, int32_t result, const uint16_t *text) {
    (void)self, (void)result, (void)text;
    return S_OK;
}

#endif
