// What a sync provider and its host share: the interfaces in vtable order, MAPISIB, and IUnknown's plumbing.
//
// On Windows this is real COM.  Elsewhere the same names stand for types of exactly the same width, calls follow the
// system's own convention, and a HANDLE is a stand-in:
//
//     HANDLE                   a file descriptor cast to a pointer; NULL is no handle
//     CreateEventW             an eventfd, which is signalled while it is readable; manual reset only
//     SetEvent, ResetEvent     make it readable, and not
//     WaitForSingleObject      poll() until it is readable; leaves it so
//     CloseHandle              close()
//
// C++17; needs no SDK besides the compiler's own headers.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <string>

#ifdef _WIN32

#ifndef NOMINMAX
#define NOMINMAX
#endif
#include <windows.h>
#include <unknwn.h>
#define EXPORT extern "C" __declspec(dllexport)

#else

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define EXPORT extern "C" __attribute__((visibility("default")))
#define STDMETHODCALLTYPE

using BOOL = std::int32_t;
using DWORD = std::uint32_t;
using ULONG = std::uint32_t;
using HRESULT = std::int32_t;
using WCHAR = char16_t;
using HANDLE = void *;

struct GUID {
    std::uint32_t Data1;
    std::uint16_t Data2, Data3;
    std::uint8_t Data4[8];
};
using IID = GUID;
using REFIID = const IID &;

inline bool operator==(const GUID &one, const GUID &other) { return std::memcmp(&one, &other, sizeof(GUID)) == 0; }
inline bool operator!=(const GUID &one, const GUID &other) { return !(one == other); }

constexpr HRESULT S_OK = 0;
constexpr HRESULT E_NOINTERFACE = static_cast<HRESULT>(0x80004002u);
constexpr HRESULT E_POINTER = static_cast<HRESULT>(0x80004003u);
constexpr HRESULT E_FAIL = static_cast<HRESULT>(0x80004005u);
constexpr HRESULT E_UNEXPECTED = static_cast<HRESULT>(0x8000ffffu);
constexpr HRESULT E_OUTOFMEMORY = static_cast<HRESULT>(0x8007000eu);
constexpr HRESULT CO_E_OBJNOTCONNECTED = static_cast<HRESULT>(0x800401fdu);
constexpr HRESULT E_INVALIDARG = static_cast<HRESULT>(0x80070057u);
constexpr bool FAILED(HRESULT result) { return result < 0; }
constexpr bool SUCCEEDED(HRESULT result) { return result >= 0; }

constexpr DWORD WAIT_OBJECT_0 = 0, WAIT_TIMEOUT = 258, WAIT_FAILED = 0xffffffff, INFINITE = 0xffffffff;

inline int descriptor_of(HANDLE handle) { return static_cast<int>(reinterpret_cast<std::intptr_t>(handle)); }
inline HANDLE handle_of(int descriptor) {
    return descriptor < 0 ? nullptr : reinterpret_cast<HANDLE>(static_cast<std::intptr_t>(descriptor));
}
inline HANDLE CreateEventW(void * /* security */, BOOL /* manual */, BOOL signalled, const WCHAR * /* name */) {
    return handle_of(eventfd(signalled ? 1 : 0, EFD_CLOEXEC | EFD_NONBLOCK));
}
inline BOOL SetEvent(HANDLE event) {
    const std::uint64_t one = 1;
    return write(descriptor_of(event), &one, sizeof one) == sizeof one;
}
inline BOOL ResetEvent(HANDLE event) {
    std::uint64_t count;
    return read(descriptor_of(event), &count, sizeof count) == sizeof count;
}
inline DWORD WaitForSingleObject(HANDLE event, DWORD milliseconds) {
    pollfd one = {descriptor_of(event), POLLIN, 0};
    const int ready = poll(&one, 1, milliseconds == INFINITE ? -1 : static_cast<int>(milliseconds));
    if (ready < 0 || (one.revents & POLLNVAL)) return WAIT_FAILED;
    return ready ? WAIT_OBJECT_0 : WAIT_TIMEOUT;
}
inline BOOL CloseHandle(HANDLE handle) { return close(descriptor_of(handle)) == 0; }

struct IUnknown {
    virtual HRESULT STDMETHODCALLTYPE QueryInterface(REFIID iid, void **ppv) = 0;
    virtual ULONG STDMETHODCALLTYPE AddRef() = 0;
    virtual ULONG STDMETHODCALLTYPE Release() = 0;
};

#endif

// --- the interfaces ---------------------------------------------------------------------------------------------

struct IMAPISyncProgressCallback : IUnknown {
    virtual HRESULT STDMETHODCALLTYPE Progress(const WCHAR *text, ULONG index, ULONG maximum) = 0;
    virtual HRESULT STDMETHODCALLTYPE Error(HRESULT result, const WCHAR *text) = 0;
    virtual HRESULT STDMETHODCALLTYPE Done(HANDLE event, HRESULT result) = 0;
};

struct MAPISIB {
    ULONG ulSize;
    ULONG ulFlags;
    IUnknown *psesSync;      // the MAPI session; may be NULL outside Outlook
    IUnknown *punkCallBack;  // is asked for IMAPISyncProgressCallback
    HANDLE *phSyncDoneEvent;
};
static_assert(sizeof(void *) != 8 || sizeof(MAPISIB) == 32, "the layout of 64-bit MAPI");

struct IMAPISync : IUnknown {
    virtual HRESULT STDMETHODCALLTYPE SynchronizeInBackground(MAPISIB *sib) = 0;
};

template <class Interface> inline constexpr GUID iid_of = {};
template <> inline constexpr GUID iid_of<IUnknown> = {0, 0, 0, {0xc0, 0, 0, 0, 0, 0, 0, 0x46}};
template <> inline constexpr GUID iid_of<IMAPISync> = {
    0x5024a385, 0x2d44, 0x486a, {0x81, 0xa8, 0x8f, 0x0e, 0xcb, 0x60, 0x71, 0xdd}};
template <> inline constexpr GUID iid_of<IMAPISyncProgressCallback> = {
    0x5024a386, 0x2d44, 0x486a, {0x81, 0xa8, 0x8f, 0x0e, 0xcb, 0x60, 0x71, 0xdd}};

using Text = std::basic_string<WCHAR>;

// --- IUnknown's part of an object ---------------------------------------------------------------------------------

// How many objects of this library exist.
static std::atomic<ULONG> live_objects{0};

// An object with one interface besides IUnknown.  It begins with one reference and deletes itself with its last.
template <class Interface> struct ComObject : Interface {
    ComObject() { live_objects++; }
    ComObject(const ComObject &) = delete;
    ComObject &operator=(const ComObject &) = delete;
    virtual ~ComObject() { live_objects--; }  // behind the interface's methods in the vtable

    HRESULT STDMETHODCALLTYPE QueryInterface(REFIID iid, void **ppv) override {
        if (ppv == nullptr) return E_POINTER;
        *ppv = nullptr;
        if (iid != iid_of<Interface> && iid != iid_of<IUnknown>) return E_NOINTERFACE;
        *ppv = static_cast<Interface *>(this);
        this->AddRef();
        return S_OK;
    }
    ULONG STDMETHODCALLTYPE AddRef() override { return ++references; }
    ULONG STDMETHODCALLTYPE Release() override {
        const ULONG left = --references;
        if (left == 0) delete this;
        return left;
    }

    std::atomic<ULONG> references{1};
};

// A new object with one reference, as a factory gives it.
template <class Object> HRESULT make(void **ppv) {
    if (ppv == nullptr) return E_POINTER;
    Object *made = new (std::nothrow) Object;
    *ppv = made;
    return made ? S_OK : E_OUTOFMEMORY;
}

// Exports what synctape loads: `create` gives an object, `create_live` says how many there are.
#define EXPORT_OBJECT(Object)                                            \
    EXPORT HRESULT create(void **ppv) { return make<Object>(ppv); }      \
    EXPORT ULONG create_live() { return live_objects; }
