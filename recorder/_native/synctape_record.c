/* The recorder: a callback that stands before another one and writes every call to a trace (docs/trace-format.md).
 *
 * How it stays out of the way: what belongs to the caller (texts, the answer) is read outside the lock; under it a text is
 * looked up, the record is built on the stack and copied into mapped memory.  The lock is never held while a call is
 * passed on.  A record appears with its first byte, which is stored last, so one that is torn by a kill is not there.
 */
#if !defined(_WIN32) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include "synctape_record.h"
#include "synctape_interfaces.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef _WIN32
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#include <windows.h>
#else
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/syscall.h>
#endif
#endif

typedef char needs_64_bits[sizeof(void *) == 8 ? 1 : -1];

#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#define NOINLINE __declspec(noinline)
#define ON_UNWINDING(function)
#define LIKELY(x) (x)
#define BARRIER() _ReadWriteBarrier()
#define LOAD(p) (*(volatile uint32_t *)(p))
#define STORE(p, v) (*(volatile uint32_t *)(p) = (v))
static int swap_if(uint32_t *p, uint32_t old, uint32_t value) {
    return _InterlockedCompareExchange((volatile long *)p, (long)value, (long)old) == (long)old;
}
#else
#define NOINLINE __attribute__((noinline))
#define ON_UNWINDING(function) __attribute__((cleanup(function))) /* needs -fexceptions */
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define BARRIER() __asm__ volatile("" ::: "memory")
#define LOAD(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define STORE(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
static int swap_if(uint32_t *p, uint32_t old, uint32_t value) {
    return __atomic_compare_exchange_n(p, &old, value, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}
#endif

enum {
    TICK_BITS = 10, /* a tick is 1024 ns */
    KIND_END = 0,
    KIND_TEXT = 1,
    KIND_THREAD = 2,
    KIND_LEAVE = 3,
    KIND_FAIL = 4,
    KIND_ENTER = 16,
    SHORT_RECORD = 30, /* bytes, without the check */
    MAX_CHECK = 5,
    MAX_TEXTS = 0xFFFF,
    MAX_INTERNED_UNITS = 1024,
    MAX_THREADS = 1 << 16,
    MAX_RECORD = 1 << 27,
    MAX_TEXT_UNITS = 1 << 24, /* a text without a NUL is cut there */
    MAX_BASES = 8,
    SMALL_RECORD = 256, /* bytes: more than any record whose texts are all in the table */
    FIRST_WINDOW = 1 << 18,
    LARGEST_WINDOW = 1 << 22,
    PAGE = 1 << 16, /* bytes: a multiple of every page size, and what Windows maps by */
    STEP = 1 << 12, /* bytes by which a file of several grows past its limit */
    FILES = 8,      /* that a recording has at most */
    RESERVE = 1 << 16, /* bytes of each for calls that are open when it is full */
    MANY_STREAMS = 1 << 12, /* threads, after which a file is followed by another */
    MOST_KEPT = 256, /* files that could not be dropped */
    MANY_SYMBOLS = 1 << 16, /* that are kept for the next file */
    REASON = SYNCTAPE_PROBLEM
};

#define S_OK_ 0
#define E_NOINTERFACE_ ((int32_t)0x80004002)
#define E_POINTER_ ((int32_t)0x80004003)
#define E_INVALIDARG_ ((int32_t)0x80070057)
#define CO_E_OBJNOTCONNECTED_ ((int32_t)0x800401FD)

static const char GOES_ON[] = "goes on in the next file";
static const char EXISTS[] = "exists already; it is left as it is";
static const char NO_MEMORY[] = "Cannot allocate memory";

typedef uint64_t word; /* any integer or pointer argument, as the calling conventions of 64-bit systems pass it */
typedef void (*function)(void);

/* Copy a text, cut to `size` bytes with its NUL; gives where it ends. */
static char *copy_text(char *to, size_t size, const char *from) {
    size_t length = strlen(from);
    if (!size) return to;
    if (length >= size) length = size - 1;
    memcpy(to, from, length);
    to[length] = 0;
    return to + length;
}

/* --- the system ---------------------------------------------------------------------------------------------- */

#ifdef _WIN32

typedef SRWLOCK lock_t;
#define LOCK_INIT SRWLOCK_INIT
static void lock_init(lock_t *lock) { InitializeSRWLock(lock); }
static void lock_take(lock_t *lock) { AcquireSRWLockExclusive(lock); }
static int lock_try(lock_t *lock) { return TryAcquireSRWLockExclusive(lock); }
static void lock_give(lock_t *lock) { ReleaseSRWLockExclusive(lock); }

static DWORD thread_slot;
static word thread_get(void) { return (word)(uintptr_t)TlsGetValue(thread_slot); }
static void thread_set(word state) { TlsSetValue(thread_slot, (void *)(uintptr_t)state); }

typedef DWORD saved_error; /* what the caller or the host has left there is theirs */
static saved_error error_save(void) { return GetLastError(); }
static void error_restore(saved_error error) { SetLastError(error); }

static uint64_t counts_per_second;
static int64_t monotonic_ns(void *context) {
    LARGE_INTEGER now;
    uint64_t count;
    (void)context;
    QueryPerformanceCounter(&now);
    count = (uint64_t)now.QuadPart;
    if (LIKELY(counts_per_second == 10000000)) return (int64_t)(count * 100);
    return (int64_t)(count / counts_per_second * 1000000000 +
                     count % counts_per_second * 1000000000 / counts_per_second);
}

static int64_t wall_ns(void) {
    FILETIME now;
    GetSystemTimeAsFileTime(&now);
    return (int64_t)((((uint64_t)now.dwHighDateTime << 32 | now.dwLowDateTime) - 116444736000000000u) * 100);
}

static uint64_t native_thread_id(void) { return GetCurrentThreadId(); }
static void thread_name(char *name, size_t size) { name[0] = 0; (void)size; }
static uint64_t process_id(void) { return GetCurrentProcessId(); }

static void program_name(char *name, size_t size) {
    WCHAR path[1024];
    DWORD length = GetModuleFileNameW(NULL, path, 1024), base = length < 1024 ? length : 0;
    int used;
    while (base && path[base - 1] != L'\\' && path[base - 1] != L'/') base--;
    used = length < 1024
               ? WideCharToMultiByte(CP_UTF8, 0, path + base, (int)(length - base), name, (int)size - 1, NULL, NULL)
               : 0;
    name[used > 0 ? used : 0] = 0;
}

#else

typedef pthread_mutex_t lock_t;
#define LOCK_INIT PTHREAD_MUTEX_INITIALIZER
static void lock_init(lock_t *lock) { pthread_mutex_init(lock, NULL); }
static void lock_take(lock_t *lock) { pthread_mutex_lock(lock); }
static int lock_try(lock_t *lock) { return pthread_mutex_trylock(lock) == 0; }
static void lock_give(lock_t *lock) { pthread_mutex_unlock(lock); }

static __thread word thread_state;
static word thread_get(void) { return thread_state; }
static void thread_set(word state) { thread_state = state; }

typedef int saved_error;
static saved_error error_save(void) { return errno; }
static void error_restore(saved_error error) { errno = error; }

static int64_t monotonic_ns(void *context) {
    struct timespec now;
    (void)context;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int64_t wall_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static uint64_t native_thread_id(void) {
#ifdef __linux__
    return (uint64_t)syscall(SYS_gettid);
#else
    return (uint64_t)(uintptr_t)pthread_self();
#endif
}

static void thread_name(char *name, size_t size) {
    if (pthread_getname_np(pthread_self(), name, size)) name[0] = 0;
}

static uint64_t process_id(void) { return (uint64_t)getpid(); }

static void program_name(char *name, size_t size) {
    char path[1024];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    const char *base;
    path[length > 0 ? length : 0] = 0;
    base = strrchr(path, '/');
    copy_text(name, size, base ? base + 1 : path);
}

#endif

/* --- bytes of msgpack ---------------------------------------------------------------------------------------- */

static uint8_t *put_big(uint8_t *at, int marker, uint64_t value, int size) {
    *at++ = (uint8_t)marker;
    while (size--) *at++ = (uint8_t)(value >> (8 * size));
    return at;
}

static uint8_t *put_unsigned(uint8_t *at, uint64_t value) {
    if (value < 0x80) {
        *at = (uint8_t)value;
        return at + 1;
    }
    if (value <= 0xFF) return put_big(at, 0xCC, value, 1);
    if (value <= 0xFFFF) return put_big(at, 0xCD, value, 2);
    if (value <= 0xFFFFFFFF) return put_big(at, 0xCE, value, 4);
    return put_big(at, 0xCF, value, 8);
}

static uint8_t *put_signed(uint8_t *at, int64_t value) {
    if (value >= 0) return put_unsigned(at, (uint64_t)value);
    if (value >= -32) {
        *at = (uint8_t)value;
        return at + 1;
    }
    if (value >= INT8_MIN) return put_big(at, 0xD0, (uint64_t)value, 1);
    if (value >= INT16_MIN) return put_big(at, 0xD1, (uint64_t)value, 2);
    if (value >= INT32_MIN) return put_big(at, 0xD2, (uint64_t)value, 4);
    return put_big(at, 0xD3, (uint64_t)value, 8);
}

static uint8_t *put_nil(uint8_t *at) {
    *at = 0xC0;
    return at + 1;
}

/* The head of a str, or of a bin. */
static uint8_t *put_length(uint8_t *at, uint64_t bytes, int is_bin) {
    if (!is_bin && bytes < 32) {
        *at = (uint8_t)(0xA0 | bytes);
        return at + 1;
    }
    if (bytes <= 0xFF) return put_big(at, is_bin ? 0xC4 : 0xD9, bytes, 1);
    if (bytes <= 0xFFFF) return put_big(at, is_bin ? 0xC5 : 0xDA, bytes, 2);
    return put_big(at, is_bin ? 0xC6 : 0xDB, bytes, 4);
}

static size_t packed_text_room(size_t units) { return 5 + 3 * units; }

/* A WCHAR text: a str, or a bin of its units where a lone surrogate forbids UTF-8. */
static uint8_t *put_text(uint8_t *at, const uint16_t *units, size_t count) {
    size_t i, bytes = 0;
    for (i = 0; i < count; i++) {
        uint16_t unit = units[i];
        if (unit < 0x80)
            bytes += 1;
        else if (unit < 0x800)
            bytes += 2;
        else if (unit < 0xD800 || unit > 0xDFFF)
            bytes += 3;
        else if (unit < 0xDC00 && i + 1 < count && units[i + 1] >= 0xDC00 && units[i + 1] <= 0xDFFF) {
            bytes += 4;
            i++;
        } else {
            at = put_length(at, 2 * (uint64_t)count, 1);
            for (i = 0; i < count; i++) {
                *at++ = (uint8_t)units[i];
                *at++ = (uint8_t)(units[i] >> 8);
            }
            return at;
        }
    }
    at = put_length(at, bytes, 0);
    for (i = 0; i < count; i++) {
        uint32_t point = units[i];
        if (point < 0x80) {
            *at++ = (uint8_t)point;
            continue;
        }
        if (point >= 0xD800 && point <= 0xDFFF) {
            point = 0x10000 + ((point - 0xD800) << 10) + (units[++i] - 0xDC00u);
            *at++ = (uint8_t)(0xF0 | point >> 18);
            *at++ = (uint8_t)(0x80 | (point >> 12 & 0x3F));
        } else if (point >= 0x800)
            *at++ = (uint8_t)(0xE0 | point >> 12);
        if (point >= 0x800)
            *at++ = (uint8_t)(0x80 | (point >> 6 & 0x3F));
        else
            *at++ = (uint8_t)(0xC0 | point >> 6);
        *at++ = (uint8_t)(0x80 | (point & 0x3F));
    }
    return at;
}

/* A str of plain characters: every other byte is shown as '?'. */
static uint8_t *put_ascii(uint8_t *at, const char *text) {
    size_t length = strlen(text);
    at = put_length(at, length, 0);
    for (; *text; text++) *at++ = (uint8_t)((unsigned char)*text < 0x80 ? *text : '?');
    return at;
}

static uint32_t crc_table[8][256];

static void crc_begin(void) {
    uint32_t i, k, crc;
    for (i = 0; i < 256; i++) {
        for (crc = i, k = 0; k < 8; k++) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
        crc_table[0][i] = crc;
    }
    for (k = 1; k < 8; k++)
        for (i = 0; i < 256; i++) crc_table[k][i] = crc_table[k - 1][i] >> 8 ^ crc_table[0][crc_table[k - 1][i] & 0xFF];
}

static uint32_t crc32_of(uint32_t crc, const uint8_t *data, size_t size) {
    crc = ~crc;
    for (; size >= 8; data += 8, size -= 8) {
        crc ^= (uint32_t)data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24;
        crc = crc_table[7][crc & 0xFF] ^ crc_table[6][crc >> 8 & 0xFF] ^ crc_table[5][crc >> 16 & 0xFF] ^
              crc_table[4][crc >> 24] ^ crc_table[3][data[4]] ^ crc_table[2][data[5]] ^ crc_table[1][data[6]] ^
              crc_table[0][data[7]];
    }
    while (size--) crc = crc >> 8 ^ crc_table[0][(crc ^ *data++) & 0xFF];
    return ~crc;
}

/* A record's check, after its array. */
static uint8_t *put_check(uint8_t *record, uint8_t *at) {
    size_t size = (size_t)(at - record);
    uint32_t sum = 1;
    if (size > SHORT_RECORD) return put_big(at, 0xCE, crc32_of(0, record, size), 4);
    while (size--) sum += record[size];
    return put_big(at, 0xCC, sum & 0xFF, 1);
}

/* --- the file: mapped in windows, allocated and zero ahead of the records ------------------------------------ */

typedef struct file {
#ifdef _WIN32
    HANDLE handle, mapping;
#else
    int descriptor;
#endif
    uint8_t *window; /* NULL: none is mapped */
    size_t size, used, hashed; /* of the window, in bytes; what is hashed is in `crc` */
    uint64_t base;             /* file offset of the window */
    size_t next_size;
    uint64_t limit; /* of a file of several: size from which on it is full; 0: none */
    uint32_t crc;
} file;

enum { FAILED = -1, DISK_FULL = -2 };

#ifdef _WIN32

static int is_full(void) { return GetLastError() == ERROR_DISK_FULL || GetLastError() == ERROR_HANDLE_DISK_FULL; }

static void system_reason(char *reason) {
    DWORD code = GetLastError();
    const char *text = NULL;
    switch (code) {
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND: text = "No such file or directory"; break;
    case ERROR_ACCESS_DENIED: text = "Permission denied"; break;
    case ERROR_INVALID_NAME: text = "Invalid argument"; break;
    case ERROR_HANDLE_DISK_FULL:
    case ERROR_DISK_FULL: text = "No space left on device"; break;
    case ERROR_NOT_ENOUGH_MEMORY: text = "Cannot allocate memory"; break;
    }
    if (text)
        copy_text(reason, REASON, text);
    else
        snprintf(reason, REASON, "Windows error %lu", code);
}

static WCHAR *wide_path(const char *path) {
    int length = MultiByteToWideChar(CP_UTF8, 0, path, -1, NULL, 0);
    WCHAR *wide = length > 0 ? malloc((size_t)length * sizeof *wide) : NULL;
    if (wide) MultiByteToWideChar(CP_UTF8, 0, path, -1, wide, length);
    return wide;
}

/* 0: it is open; 1: it exists; -1: `reason` */
static int file_open(file *f, const char *path, char *reason) {
    WCHAR *wide = wide_path(path);
    if (!wide) {
        copy_text(reason, REASON, "Invalid argument");
        return -1;
    }
    f->handle = CreateFileW(wide, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL,
                            CREATE_NEW, FILE_ATTRIBUTE_NORMAL, NULL);
    free(wide);
    if (f->handle != INVALID_HANDLE_VALUE) return 0;
    if (GetLastError() == ERROR_FILE_EXISTS || GetLastError() == ERROR_ALREADY_EXISTS) return 1;
    system_reason(reason);
    return -1;
}

static int file_seek(file *f, uint64_t to) {
    LARGE_INTEGER position;
    position.QuadPart = (LONGLONG)to;
    return SetFilePointerEx(f->handle, position, NULL, FILE_BEGIN);
}

static int window_map(file *f, uint64_t base, size_t size, char *reason) {
    uint64_t end = base + size;
    int full;
    if (!file_seek(f, end) || !SetEndOfFile(f->handle) ||
        !(f->mapping = CreateFileMappingW(f->handle, NULL, PAGE_READWRITE, (DWORD)(end >> 32), (DWORD)end, NULL))) {
        full = is_full();
        system_reason(reason);
        return full ? DISK_FULL : FAILED;
    }
    f->window = MapViewOfFile(f->mapping, FILE_MAP_WRITE, (DWORD)(base >> 32), (DWORD)base, size);
    if (f->window) return 0;
    system_reason(reason);
    CloseHandle(f->mapping);
    return -1;
}

static void window_unmap(file *f) {
    UnmapViewOfFile(f->window);
    CloseHandle(f->mapping);
    f->window = NULL;
}

/* Cut the file, append, hand it to the disk if asked to, close; -1 if the end could not be written. */
static int file_finish(file *f, uint64_t end, const uint8_t *data, size_t size, int sync) {
    DWORD written = 0;
    int good = file_seek(f, end);
    if (good) SetEndOfFile(f->handle); /* fails while a reader maps the file: zeros stay behind */
    good = good && WriteFile(f->handle, data, (DWORD)size, &written, NULL) && written == size;
    if (sync) FlushFileBuffers(f->handle);
    CloseHandle(f->handle);
    return good ? 0 : -1;
}

static void file_close(file *f) { CloseHandle(f->handle); }

/* Whether it is gone. */
static int file_delete(const char *path) {
    WCHAR *wide = wide_path(path);
    int gone = wide && (DeleteFileW(wide) || GetLastError() == ERROR_FILE_NOT_FOUND);
    free(wide);
    return gone;
}

static void folder_sync(const char *path) { (void)path; }

/* Whether there is a file in the folder (a path up to its last separator) whose name is like this. */
static int folder_has(const char *folder, int (*like)(const void *, const char *), const void *what) {
    size_t length = strlen(folder);
    char *pattern = malloc(length + 2), name[4 * MAX_PATH];
    WCHAR *wide;
    WIN32_FIND_DATAW entry;
    HANDLE search;
    int found = 0;
    if (!pattern) return 0;
    copy_text(copy_text(pattern, length + 2, folder), 2, "*");
    wide = wide_path(pattern);
    search = wide ? FindFirstFileW(wide, &entry) : INVALID_HANDLE_VALUE;
    free(wide);
    free(pattern);
    if (search == INVALID_HANDLE_VALUE) return 0;
    do
        if (WideCharToMultiByte(CP_UTF8, 0, entry.cFileName, -1, name, sizeof name, NULL, NULL)) found = like(what, name);
    while (!found && FindNextFileW(search, &entry));
    FindClose(search);
    return found;
}

typedef HANDLE duplicate;

/* What hands the file to the disk while others go on writing it. */
static int file_duplicate(const file *f, duplicate *copy) {
    if (f->window) FlushViewOfFile(f->window, f->used);
    return DuplicateHandle(GetCurrentProcess(), f->handle, GetCurrentProcess(), copy, 0, FALSE, DUPLICATE_SAME_ACCESS);
}

static int duplicate_sync(duplicate copy, char *reason) {
    int good = FlushFileBuffers(copy) != 0;
    if (!good) system_reason(reason);
    CloseHandle(copy);
    return good ? 0 : -1;
}

#else

static int is_full(void) { return errno == ENOSPC || errno == EDQUOT; }

static void system_reason(char *reason) { copy_text(reason, REASON, strerror(errno)); }

static int file_open(file *f, const char *path, char *reason) {
    f->descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (f->descriptor >= 0) return 0;
    if (errno == EEXIST) return 1;
    system_reason(reason);
    return -1;
}

/* Room on the disk from the file's end to `size`, so that storing to a mapping of it cannot fail. */
static int allocate(int descriptor, uint64_t size) {
    static const uint8_t zeros[1 << 12];
    struct stat now;
    struct rlimit limit;
    uint64_t at;
    int error;
    if (fstat(descriptor, &now)) return -1;
    at = (uint64_t)now.st_size;
    if (at >= size) return 0;
    if (!getrlimit(RLIMIT_FSIZE, &limit) && limit.rlim_cur != RLIM_INFINITY && size > limit.rlim_cur) {
        errno = EFBIG; /* instead of the signal that ends the process */
        return -1;
    }
#ifdef __APPLE__
    error = EOPNOTSUPP;
#else
    error = posix_fallocate(descriptor, (off_t)at, (off_t)(size - at));
#endif
    if (!error) return 0;
    errno = error;
    if (error != EINVAL && error != ENOSYS && error != EOPNOTSUPP) return -1;
    while (at < size) {
        size_t step = size - at < sizeof zeros ? (size_t)(size - at) : sizeof zeros;
        ssize_t written = pwrite(descriptor, zeros, step, (off_t)at);
        if (written <= 0) return -1;
        at += (uint64_t)written;
    }
    return 0;
}

static int window_map(file *f, uint64_t base, size_t size, char *reason) {
    void *window = MAP_FAILED;
    if (!allocate(f->descriptor, base + size))
        window = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, f->descriptor, (off_t)base);
    if (window == MAP_FAILED) {
        int full = is_full();
        system_reason(reason);
        return full ? DISK_FULL : FAILED;
    }
    f->window = window;
    return 0;
}

static void window_unmap(file *f) {
    munmap(f->window, f->size);
    f->window = NULL;
}

static int file_finish(file *f, uint64_t end, const uint8_t *data, size_t size, int sync) {
    int good = 1;
    if (ftruncate(f->descriptor, (off_t)end)) good = 1; /* zeros stay behind */
    while (good && size) {
        ssize_t written = pwrite(f->descriptor, data, size, (off_t)end);
        good = written > 0;
        if (good) data += written, end += (uint64_t)written, size -= (size_t)written;
    }
    if (sync) fsync(f->descriptor);
    close(f->descriptor);
    return good ? 0 : -1;
}

static void file_close(file *f) { close(f->descriptor); }

static int file_delete(const char *path) { return !unlink(path) || errno == ENOENT; }

/* Hand a new file's name to the disk. */
static void folder_sync(const char *path) {
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) + 1 : 0;
    char *folder = malloc(length + 2);
    int descriptor;
    if (!folder) return;
    copy_text(folder, length + 2, ".");
    if (length) copy_text(folder, length + 1, path);
    descriptor = open(folder, O_RDONLY | O_CLOEXEC);
    free(folder);
    if (descriptor < 0) return;
    fsync(descriptor);
    close(descriptor);
}

static int folder_has(const char *folder, int (*like)(const void *, const char *), const void *what) {
    DIR *entries = opendir(*folder ? folder : ".");
    const struct dirent *entry;
    int found = 0;
    if (!entries) return 0;
    while (!found && (entry = readdir(entries))) found = like(what, entry->d_name);
    closedir(entries);
    return found;
}

typedef int duplicate;

static int file_duplicate(const file *f, duplicate *copy) {
    *copy = fcntl(f->descriptor, F_DUPFD_CLOEXEC, 0);
    return *copy >= 0;
}

static int duplicate_sync(duplicate copy, char *reason) {
    int good = !fsync(copy);
    if (!good) system_reason(reason);
    close(copy);
    return good ? 0 : -1;
}

#endif

static void hash_window(file *f) {
    f->crc = crc32_of(f->crc, f->window + f->hashed, f->used - f->hashed);
    f->hashed = f->used;
}

/* The next window, with room for `needed` bytes; FAILED or DISK_FULL: `reason`, and the file is whole up to here. */
static int file_grow(file *f, size_t needed, char *reason) {
    uint64_t end = f->base + f->used, base = end - end % PAGE;
    size_t size = f->next_size, step = f->limit ? STEP : PAGE;
    int failed;
    if (f->window) {
        hash_window(f);
        window_unmap(f);
    }
    if (f->limit && f->limit < base + size) size = f->limit > base ? (size_t)(f->limit - base) : 0;
    if (size < end - base + needed) size = ((size_t)(end - base) + needed + step - 1) / step * step;
    f->base = base;
    f->used = f->hashed = (size_t)(end - base);
    if ((failed = window_map(f, base, size, reason))) return failed;
    f->size = size;
    if (f->next_size < LARGEST_WINDOW) f->next_size *= 2;
    return 0;
}

/* Copy a record; its first byte, which is not zero, comes last. */
static void publish(uint8_t *to, const uint8_t *record, size_t size) {
    if (LIKELY(size <= 32 && size >= 8)) { /* in two pieces that may overlap */
        if (size >= 16) {
            memcpy(to + size - 16, record + size - 16, 16);
            BARRIER();
            memcpy(to, record, 16);
        } else {
            memcpy(to + size - 8, record + size - 8, 8);
            BARRIER();
            memcpy(to, record, 8);
        }
        return;
    }
    memcpy(to + 1, record + 1, size - 1);
    BARRIER();
    *(volatile uint8_t *)to = record[0];
}

/* --- tables -------------------------------------------------------------------------------------------------- */

typedef struct text_entry {
    uint32_t hash;
    uint16_t number; /* 0: an empty place */
    uint16_t units;
    const uint16_t *text;
} text_entry;

typedef struct text_table {
    text_entry *entries;
    uint32_t mask, count; /* a power of two less one; texts in it */
} text_table;

static text_entry *text_place(const text_table *table, uint32_t hash, const uint16_t *text, size_t units) {
    uint32_t at = hash & table->mask;
    for (;; at = (at + 1) & table->mask) {
        text_entry *entry = &table->entries[at];
        if (!entry->number) return entry;
        if (entry->hash == hash && entry->units == units && !memcmp(entry->text, text, 2 * units)) return entry;
    }
}

/* Room for one more; -1: no memory. */
static int text_room(text_table *table) {
    text_table larger;
    uint32_t i;
    if (table->entries && 2 * (table->count + 1) <= table->mask) return 0;
    larger.mask = table->entries ? 2 * table->mask + 1 : 255;
    larger.count = table->count;
    larger.entries = calloc((size_t)larger.mask + 1, sizeof *larger.entries);
    if (!larger.entries) return -1;
    for (i = 0; table->entries && i <= table->mask; i++) {
        const text_entry *entry = &table->entries[i];
        if (entry->number) *text_place(&larger, entry->hash, entry->text, entry->units) = *entry;
    }
    free(table->entries);
    *table = larger;
    return 0;
}

typedef struct symbol_table { /* open addressing, by the value of a handle, which is not 0 */
    word *values;
    int64_t *tokens;
    size_t mask, count;
} symbol_table;

static size_t symbol_place(const symbol_table *table, word value) {
    size_t at = (size_t)((value * 0x9E3779B97F4A7C15u) >> 32) & table->mask;
    while (table->values[at] && table->values[at] != value) at = (at + 1) & table->mask;
    return at;
}

static int symbol_room(symbol_table *table) {
    symbol_table larger;
    size_t i;
    if (table->values && 2 * (table->count + 1) <= table->mask) return 0;
    larger.mask = table->values ? 2 * table->mask + 1 : 15;
    larger.count = table->count;
    larger.values = calloc(larger.mask + 1, sizeof *larger.values);
    larger.tokens = calloc(larger.mask + 1, sizeof *larger.tokens);
    if (!larger.values || !larger.tokens) {
        free(larger.values);
        free(larger.tokens);
        return -1;
    }
    for (i = 0; table->values && i <= table->mask; i++)
        if (table->values[i]) {
            size_t at = symbol_place(&larger, table->values[i]);
            larger.values[at] = table->values[i];
            larger.tokens[at] = table->tokens[i];
        }
    free(table->values);
    free(table->tokens);
    *table = larger;
    return 0;
}

/* A thread's part of a recording. */
typedef struct stream {
    struct stream *next; /* in its place of the table */
    word thread;
    int64_t last; /* tick of its last enter */
    uint32_t number;
    uint32_t open, room; /* calls that are open, oldest first */
    uint64_t *calls;
    uint64_t next_call;
} stream;

enum { STREAM_PLACES = 256 };

typedef struct block { /* memory that lives as long as the file is written */
    struct block *next;
} block;

/* What a parameter is to the recorder. */
enum {
    IN_I32,
    IN_U32,
    IN_I64,
    IN_U64,
    IN_TEXT,
    IN_IID,
    IN_SYMBOL,
    IN_BY_ADDRESS = 16, /* and one of the first four */
    FILLED = 32         /* and one of them, or IN_SYMBOL: an output */
};

enum { RETURNS_NOTHING = 255 };

typedef struct plan { /* a method */
    uint8_t kinds[SYNCTAPE_MAX_PARAMETERS];
    uint8_t count, inputs, outputs;
    uint8_t returns;   /* one of the first four, IN_SYMBOL, RETURNS_NOTHING */
    uint8_t is_result; /* it returns an HRESULT */
} plan;

typedef struct part { /* a file of the recording, and what belongs to it */
    struct part *next; /* of those that are full and in which calls are open */
    file file;
    int64_t start; /* tick at which it begins */
    text_table texts;
    block *blocks;
    uint8_t *arena; /* room for texts */
    size_t arena_left;
    stream *recent;
    stream *streams[STREAM_PLACES];
    uint32_t stream_count;
    uint32_t number; /* from 1 on */
    uint64_t open;   /* calls */
} part;

typedef struct recording {
    const function *vtable; /* first: this is the interface pointer */
    void *inner;
    uint32_t references; /* 0 is final */
    uint32_t live;       /* calls are written */
    uint32_t generation; /* of the process, which a fork changes */
    uint32_t slots;
    plan *plans;
    uint8_t iids[MAX_BASES][16];
    unsigned iid_count;
    int64_t (*clock)(void *);
    void *clock_context;
    lock_t lock; /* for everything below */
    part *part;    /* the file that new calls go to */
    part *retired; /* full ones in which calls are open */
    symbol_table symbols;
    int64_t next_token;
    void *const *sync_event_at;
    char *path;      /* of a recording in several files, else NULL */
    uint8_t *header; /* that of each file, but for what differs */
    size_t header_size;
    char id[17];
    int64_t began; /* ns of the clock, at the first file */
    uint64_t limit;
    int keep_first;
    uint32_t kept[MOST_KEPT]; /* numbers of files that may be dropped, oldest first */
    size_t kept_count;
    int64_t sync; /* ns between two times that it is handed to the disk; SYNCTAPE_SYNC_EACH; 0: never */
    int64_t synced;
    char reason[REASON]; /* why recording stopped; empty: it did not */
    struct recording *next; /* of all there were */
} recording;

/* All recordings there were: what is left of a finished one, some hundred bytes, stays, so that a call that comes after
 * the last Release finds who it was for. */
static recording *recordings;
static lock_t recordings_lock = LOCK_INIT;
static uint32_t generation = 1;
static word threads_seen;
enum { BUSY = 1, THREAD_STEP = 2 };

static const uint8_t UNKNOWN_IID[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0xC0, 0, 0, 0, 0, 0, 0, 0x46};

/* --- writing; with the lock ---------------------------------------------------------------------------------- */

static void free_part(part *p) {
    size_t i;
    block *b;
    if (!p) return;
    for (i = 0; i < STREAM_PLACES; i++)
        while (p->streams[i]) {
            stream *s = p->streams[i];
            p->streams[i] = s->next;
            free(s->calls);
            free(s);
        }
    while ((b = p->blocks)) {
        p->blocks = b->next;
        free(b);
    }
    free(p->texts.entries);
    free(p);
}

static void forget(recording *r) {
    part *p;
    while ((p = r->retired)) {
        r->retired = p->next;
        free_part(p);
    }
    free_part(r->part);
    r->part = NULL;
    free(r->symbols.values);
    free(r->symbols.tokens);
    memset(&r->symbols, 0, sizeof r->symbols);
    free(r->path);
    free(r->header);
    r->path = NULL;
    r->header = NULL;
    r->sync_event_at = NULL;
}

/* Write the end of a file; an empty reason: it ends as it should.  -1: it could not be written. */
static int end_part(recording *r, part *p, const char *reason) {
    uint8_t record[64 + REASON], *at = record;
    file *f = &p->file;
    uint64_t end = f->base + f->used;
    if (f->window) {
        hash_window(f);
        window_unmap(f);
    }
    *at++ = 0x93;
    *at++ = KIND_END;
    at = put_big(at, 0xCE, f->crc, 4);
    at = *reason ? put_ascii(at, reason) : put_nil(at);
    at = put_check(record, at);
    return file_finish(f, end, record, (size_t)(at - record), r->sync != 0);
}

/* End all files; an empty reason: as it should end. */
static void finish(recording *r, const char *reason) {
    part *p;
    if (!LOAD(&r->live)) return;
    STORE(&r->live, 0);
    for (p = r->retired; p; p = p->next) end_part(r, p, GOES_ON);
    if (r->part && end_part(r, r->part, reason) && !*reason) reason = "the end could not be written";
    if (reason != r->reason) copy_text(r->reason, REASON, reason);
    forget(r);
}

NOINLINE static void stop(recording *r, const char *reason) { finish(r, reason); }

static void part_path(const recording *r, uint32_t number, char *path);

/* Drop the oldest files; one that cannot be is tried again later.  Whether any could be. */
static int drop(recording *r, long count) {
    long dropped = 0;
    size_t i, left = 0;
    char *path = r->path ? malloc(strlen(r->path) + 16) : NULL;
    if (!path) return 0;
    for (i = 0; i < r->kept_count; i++) {
        part_path(r, r->kept[i], path);
        if (dropped < count && file_delete(path))
            dropped++;
        else
            r->kept[left++] = r->kept[i];
    }
    r->kept_count = left;
    free(path);
    return dropped > 0;
}

/* Room in the file; on a full disk old files go first. */
static int make_room(recording *r, part *p, size_t size, char *reason) {
    int failed;
    while ((failed = file_grow(&p->file, size, reason)) == DISK_FULL && drop(r, 1));
    return failed;
}

NOINLINE static int grow(recording *r, part *p, size_t size) {
    char reason[REASON];
    if (!make_room(r, p, size, reason)) return 0;
    stop(r, reason);
    return -1;
}

/* Copy a record, with its check, to where there is room. */
static void put_record(file *f, const uint8_t *record, size_t size) {
    publish(f->window + f->used, record, size);
    f->used += size;
}

/* Append an array that ends at `at`, with its check; -1: recording has stopped. */
static int append(recording *r, part *p, uint8_t *record, uint8_t *at) {
    size_t size;
    at = put_check(record, at);
    size = (size_t)(at - record);
    if (!LIKELY(p->file.size - p->file.used >= size) && grow(r, p, size)) return -1;
    put_record(&p->file, record, size);
    return 0;
}

static void *keep(part *r, size_t size) {
    void *kept;
    size = (size + 7) & ~(size_t)7;
    if (size > r->arena_left) {
        size_t room = size > (1 << 14) ? size : 1 << 14;
        block *b = malloc(sizeof *b + room);
        if (!b) return NULL;
        b->next = r->blocks;
        r->blocks = b;
        r->arena = (uint8_t *)(b + 1);
        r->arena_left = room;
    }
    kept = r->arena;
    r->arena += size;
    r->arena_left -= size;
    return kept;
}

typedef struct text { /* an argument */
    const uint16_t *units;
    size_t count;
    uint32_t hash;
    int32_t number; /* in the table; -1: it stands in the event, packed */
    uint8_t *packed;
    size_t packed_size;
} text;

/* Spell a text that cannot be in the table; -1: no memory. */
NOINLINE static int spell(text *t) {
    t->number = -1;
    t->packed = malloc(packed_text_room(t->count));
    if (!t->packed) return -1;
    t->packed_size = (size_t)(put_text(t->packed, t->units, t->count) - t->packed);
    return 0;
}

/* Define a new text; -1: recording has stopped. */
NOINLINE static int define(recording *r, part *p, text *t) {
    uint8_t record[16 + 3 * MAX_INTERNED_UNITS + MAX_CHECK], *at = record;
    uint16_t *kept = NULL;
    text_entry *entry;
    if (p->texts.count < MAX_TEXTS && !text_room(&p->texts)) kept = keep(p, 2 * t->count + 2);
    if (!kept) {
        if (!spell(t)) return 0;
        stop(r, NO_MEMORY);
        return -1;
    }
    memcpy(kept, t->units, 2 * t->count);
    t->number = (int32_t)++p->texts.count;
    entry = text_place(&p->texts, t->hash, kept, t->count);
    entry->hash = t->hash;
    entry->number = (uint16_t)t->number;
    entry->units = (uint16_t)t->count;
    entry->text = kept;
    *at++ = 0x93;
    *at++ = KIND_TEXT;
    at = put_unsigned(at, (uint64_t)t->number);
    at = put_text(at, kept, t->count);
    return append(r, p, record, at);
}

static int look_up(recording *r, part *p, text *t) {
    if (LIKELY(p->texts.entries != NULL)) {
        text_entry *entry = text_place(&p->texts, t->hash, t->units, t->count);
        t->number = entry->number;
        if (LIKELY(t->number)) return 0;
    }
    return define(r, p, t);
}

/* The symbol of a handle that is not NULL; -1: recording has stopped. */
static int symbol(recording *r, word value, int64_t *token) {
    size_t at;
    if (value >= (word)-2) {
        *token = (int64_t)value;
        return 0;
    }
    if (symbol_room(&r->symbols)) {
        stop(r, NO_MEMORY);
        return -1;
    }
    at = symbol_place(&r->symbols, value);
    if (!r->symbols.values[at]) {
        r->symbols.values[at] = value;
        r->symbols.count++;
        r->symbols.tokens[at] =
            r->sync_event_at && (word)(uintptr_t)*r->sync_event_at == value ? 0 : r->next_token++;
    }
    *token = r->symbols.tokens[at];
    return 0;
}

NOINLINE static stream *new_stream(recording *r, part *p, word thread) {
    uint8_t record[128], *at = record;
    char name[32];
    stream *s = calloc(1, sizeof *s), **place = &p->streams[(thread / THREAD_STEP) % STREAM_PLACES];
    if (p->stream_count >= MAX_THREADS) {
        free(s);
        stop(r, "over 65536 threads are more than a trace holds");
        return NULL;
    }
    if (!s) {
        stop(r, NO_MEMORY);
        return NULL;
    }
    s->thread = thread;
    s->number = p->stream_count++;
    s->last = r->clock(r->clock_context) >> TICK_BITS;
    s->next = *place;
    *place = s;
    thread_name(name, sizeof name);
    *at++ = 0x95;
    *at++ = KIND_THREAD;
    at = put_unsigned(at, s->number);
    at = put_signed(at, s->last - p->start);
    at = put_unsigned(at, native_thread_id());
    at = put_ascii(at, name);
    return append(r, p, record, at) ? NULL : s;
}

static stream *stream_of(recording *r, part *p, word thread) {
    stream *s = p->recent;
    if (LIKELY(s && s->thread == thread)) return s;
    for (s = p->streams[(thread / THREAD_STEP) % STREAM_PLACES]; s && s->thread != thread;) s = s->next;
    if (!s) s = new_stream(r, p, thread);
    if (s) p->recent = s;
    return s;
}

static int open_call(recording *r, stream *s, uint64_t *call) {
    if (!LIKELY(s->open < s->room)) {
        uint32_t room = s->room ? 2 * s->room : 16;
        uint64_t *calls = realloc(s->calls, room * sizeof *calls);
        if (!calls) {
            stop(r, NO_MEMORY);
            return -1;
        }
        s->calls = calls;
        s->room = room;
    }
    *call = s->calls[s->open++] = s->next_call++;
    return 0;
}

/* Take a call off the open ones: how many began later. */
static uint32_t close_call(stream *s, uint64_t call) {
    uint32_t at = s->open, back;
    while (at && s->calls[at - 1] != call) at--;
    if (!at) return 0; /* it cannot be */
    back = s->open - at;
    if (back) memmove(&s->calls[at - 1], &s->calls[at], back * sizeof *s->calls);
    s->open--;
    return back;
}

static uint8_t *put_integer(uint8_t *at, int kind, word value) {
    switch (kind) {
    case IN_I32: return put_signed(at, (int32_t)(uint32_t)value);
    case IN_U32: return put_unsigned(at, (uint32_t)value);
    case IN_I64: return put_signed(at, (int64_t)value);
    default: return put_unsigned(at, value);
    }
}

/* What stands at an address. */
static word scalar_at(int kind, word address) {
    const void *at = (const void *)(uintptr_t)address;
    uint32_t low;
    word whole;
    if (kind == IN_I32 || kind == IN_U32) {
        memcpy(&low, at, sizeof low);
        return low;
    }
    memcpy(&whole, at, sizeof whole);
    return whole;
}

/* --- several files ------------------------------------------------------------------------------------------- */

/* A recording's path in its parts: run.0001.tape stands for run.tape. */
typedef struct split {
    const char *name;   /* without the folder */
    size_t stem;        /* bytes of the name before the number */
    const char *suffix; /* may be empty */
} split;

static split split_path(const char *path) {
    split parts;
    const char *at, *suffix = NULL;
    parts.name = path;
    for (at = path; *at; at++)
        if (*at == '/'
#ifdef _WIN32
            || *at == '\\' || *at == ':'
#endif
        )
            parts.name = at + 1;
    for (at = parts.name; *at; at++)
        if (*at == '.' && at > parts.name && at[1]) suffix = at;
    parts.suffix = suffix ? suffix : at;
    parts.stem = (size_t)(parts.suffix - parts.name);
    return parts;
}

/* The name of a file.  There is room for 16 bytes more than the recording's path has. */
static void part_path(const recording *r, uint32_t number, char *path) {
    split parts = split_path(r->path);
    size_t length = (size_t)(parts.suffix - r->path);
    memcpy(path, r->path, length);
    snprintf(path + length, 16, ".%04lu", (unsigned long)number);
    strcat(path, parts.suffix);
}

/* Whether a file of this name is one of the recording's. */
static int is_part(const void *what, const char *name) {
    const split *parts = what;
    const char *digits = name + parts->stem + 1;
    size_t count;
    if (strncmp(name, parts->name, parts->stem) || name[parts->stem] != '.') return 0;
    count = strspn(digits, "0123456789");
    return count >= 4 && !strcmp(digits + count, parts->suffix);
}

/* Whether there are files of another recording to the same path. */
static int is_taken(const recording *r) {
    split parts = split_path(r->path);
    size_t length = (size_t)(parts.name - r->path);
    char *folder = malloc(length + 1);
    int taken;
    if (!folder) return 0;
    copy_text(folder, length + 1, r->path);
    taken = folder_has(folder, is_part, &parts);
    free(folder);
    return taken;
}

static int is_due(const part *p) {
    return p->file.base + p->file.used >= p->file.limit || p->stream_count >= MANY_STREAMS;
}

/* Behind one value of msgpack; NULL: it is none, or cut off. */
static const uint8_t *skip(const uint8_t *at, const uint8_t *end) {
    static const uint8_t sizes[] = {0, 0, 0, 0, 1, 2, 4, 1, 2, 4, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 2, 3, 5, 9, 17, 1, 2, 4, 2, 4, 2, 4};
    uint64_t values = 1;
    while (values--) {
        uint64_t bytes = 0, count = 0;
        unsigned marker, i;
        if (at >= end) return NULL;
        marker = *at++;
        if (marker < 0x80 || marker >= 0xE0) continue;
        if (marker < 0x90)
            values += 2 * (marker & 15);
        else if (marker < 0xA0)
            values += marker & 15;
        else if (marker < 0xC0)
            bytes = marker & 31;
        else {
            bytes = sizes[marker - 0xC0];
            if (bytes > (uint64_t)(end - at)) return NULL;
            if ((marker >= 0xC4 && marker <= 0xC9) || marker >= 0xD9) {
                for (i = 0; i < bytes; i++) count = count << 8 | at[i];
                if (marker >= 0xDE)
                    values += 2 * count;
                else if (marker >= 0xDC)
                    values += count;
                else
                    bytes += count + (marker >= 0xC7 && marker <= 0xC9);
            }
        }
        if (bytes > (uint64_t)(end - at)) return NULL;
        at += bytes;
    }
    return at;
}

/* Whether a str stands there. */
static int is_str(const uint8_t *at, const uint8_t *end, const char *text) {
    size_t length = strlen(text);
    return (size_t)(end - at) > length && *at == (0xA0 | length) && !memcmp(at + 1, text, length);
}

/* A packed map of up to 15 or 65535 pairs: behind its head, and how many; NULL: it is none. */
static const uint8_t *map_head(const uint8_t *at, const uint8_t *end, unsigned *pairs) {
    if (at < end && (*at & 0xF0) == 0x80) {
        *pairs = *at & 15;
        return at + 1;
    }
    if (end - at < 3 || *at != 0xDE) return NULL;
    *pairs = (unsigned)(at[1] << 8 | at[2]);
    return at + 3;
}

static uint8_t *put_map(uint8_t *at, unsigned pairs) {
    if (pairs > 15) return put_big(at, 0xDE, pairs, 2);
    *at = (uint8_t)(0x80 | pairs);
    return at + 1;
}

static uint8_t *put_bytes(uint8_t *at, const uint8_t *from, const uint8_t *to) {
    memcpy(at, from, (size_t)(to - from));
    return at + (to - from);
}

/* An integer that is not negative; 0 for anything else. */
static int64_t integer_at(const uint8_t *at, const uint8_t *end) {
    uint64_t value = 0;
    int size;
    if (*at < 0x80) return *at;
    if (*at < 0xCC || *at > 0xCF) return 0;
    size = 1 << (*at - 0xCC);
    for (at++; size-- && at < end; at++) value = value << 8 | *at;
    return value >> 63 ? 0 : (int64_t)value;
}

enum { SESSION_BYTES = 96 }; /* that a file's own header is longer at most */

/* The recording's header with what a file says of itself; where it ends, NULL: it is none. */
static uint8_t *put_own_header(uint8_t *at, const recording *r, uint32_t number, int64_t passed) {
    const uint8_t *from = r->header, *end = from + r->header_size, *value, *next, *body;
    unsigned pairs, own;
    int done = 0;
    if (r->header_size < 11 || *from != 0x93 || !is_str(from + 1, end, "synctape")) return NULL;
    if (!(body = map_head(from + 11, end, &pairs))) return NULL;
    at = put_bytes(at, from, body);
    while (pairs--) {
        if (!(value = skip(body, end)) || !(next = skip(value, end))) return NULL;
        if (is_str(body, end, "created_ns")) {
            int64_t created = integer_at(value, end);
            at = put_bytes(at, body, value);
            at = put_signed(at, created ? created + passed : 0);
        } else if (is_str(body, end, "provenance")) {
            const uint8_t *inner = map_head(value, end, &own);
            if (!inner) return NULL;
            at = put_bytes(at, body, value);
            at = put_map(at, own + 1);
            at = put_bytes(at, inner, next);
            at = put_ascii(at, "session");
            at = put_map(at, 2);
            at = put_ascii(at, "id");
            at = put_ascii(at, r->id);
            at = put_ascii(at, "file");
            at = put_unsigned(at, number);
            done = 1;
        } else
            at = put_bytes(at, body, next);
        body = next;
    }
    return done && body == end ? at : NULL;
}

/* A new file, with its header; NULL: `reason`, which is EXISTS if there is one. */
static part *new_part(recording *r, const char *path, uint32_t number, char *reason) {
    part *p = calloc(1, sizeof *p);
    uint8_t *header = malloc(r->header_size + SESSION_BYTES + MAX_CHECK), *at;
    int64_t now = r->clock(r->clock_context);
    int opened;
    if (!p || !header) {
        copy_text(reason, REASON, NO_MEMORY);
        goto failed;
    }
    p->number = number;
    p->start = now >> TICK_BITS;
    p->file.next_size = FIRST_WINDOW;
    p->file.limit = r->limit;
    if (number == 1) r->began = now;
    if (r->path)
        at = put_own_header(header, r, number, now - r->began);
    else
        at = put_bytes(header, r->header, r->header + r->header_size);
    if (!at) {
        copy_text(reason, REASON, "the header is none of a trace");
        goto failed;
    }
    at = put_check(header, at);
    do opened = file_open(&p->file, path, reason);
    while (opened < 0 && is_full() && drop(r, 1));
    if (opened) {
        if (opened > 0) copy_text(reason, REASON, EXISTS);
        goto failed;
    }
    if (make_room(r, p, (size_t)(at - header), reason)) {
        file_close(&p->file);
        file_delete(path);
        goto failed;
    }
    put_record(&p->file, header, (size_t)(at - header));
    free(header);
    if (r->sync) folder_sync(path);
    return p;
failed:
    free(header);
    free(p);
    return NULL;
}

/* Go on in another file; -1: recording has stopped. */
NOINLINE static int follow(recording *r) {
    char reason[REASON], *path = malloc(strlen(r->path) + 16);
    part *full = r->part, *next = NULL;
    drop(r, (long)r->kept_count + 2 + r->keep_first - FILES);
    if (path) {
        part_path(r, full->number + 1, path);
        next = new_part(r, path, full->number + 1, reason);
    } else
        copy_text(reason, REASON, NO_MEMORY);
    free(path);
    if (!next) {
        stop(r, reason);
        return -1;
    }
    r->part = next;
    if (full->number > 1 || !r->keep_first) {
        if (r->kept_count == MOST_KEPT) memmove(r->kept, r->kept + 1, --r->kept_count * sizeof *r->kept);
        r->kept[r->kept_count++] = full->number;
    }
    if (r->symbols.count >= MANY_SYMBOLS) {
        free(r->symbols.values);
        free(r->symbols.tokens);
        memset(&r->symbols, 0, sizeof r->symbols);
    }
    if (full->open) {
        full->next = r->retired;
        r->retired = full;
        return 0;
    }
    end_part(r, full, GOES_ON);
    free_part(full);
    return 0;
}

/* --- to the disk --------------------------------------------------------------------------------------------- */

/* With the lock: whether it is time. */
static int is_to_flush(recording *r) {
    int64_t now;
    if (LIKELY(!r->sync) || !LOAD(&r->live)) return 0;
    if (r->sync == SYNCTAPE_SYNC_EACH) return 1;
    now = monotonic_ns(NULL);
    if (now - r->synced < r->sync) return 0;
    r->synced = now;
    return 1;
}

/* Hand what was written to the disk; without the lock, so that nobody waits for it who need not. */
NOINLINE static void flush(recording *r) {
    enum { MOST = 8 };
    duplicate copies[MOST];
    char reason[REASON] = "";
    int count = 0, failed = 0;
    part *p;
    lock_take(&r->lock);
    if (LOAD(&r->live)) {
        r->synced = monotonic_ns(NULL);
        count += file_duplicate(&r->part->file, &copies[count]);
        for (p = r->retired; p && count < MOST; p = p->next) count += file_duplicate(&p->file, &copies[count]);
    }
    lock_give(&r->lock);
    while (count) failed |= duplicate_sync(copies[--count], reason);
    if (!failed) return;
    lock_take(&r->lock);
    if (LOAD(&r->live)) stop(r, reason);
    lock_give(&r->lock);
}

/* --- a call -------------------------------------------------------------------------------------------------- */

typedef struct ticket {
    part *part;
    stream *stream; /* NULL: it is not recorded */
    uint64_t call;
    int64_t start; /* tick */
} ticket;

/* Length and hash.  Read unit by unit: text may end flush against inaccessible memory. */
static void measure(text *t, const uint16_t *units) {
    size_t count = 0, left;
    uint64_t hash, part;
    const uint8_t *bytes = (const uint8_t *)units;
    if ((uintptr_t)units & 1) { /* as no compiler lays it out */
        uint16_t unit;
        while (count < MAX_TEXT_UNITS && (memcpy(&unit, bytes + 2 * count, 2), unit)) count++;
    } else
        while (count < MAX_TEXT_UNITS && units[count]) count++;
    t->units = units;
    t->count = count;
    t->packed = NULL;
    t->packed_size = 0;
    hash = count * 0x9E3779B97F4A7C15u;
    for (left = count > MAX_INTERNED_UNITS ? 0 : 2 * count; left >= 8; bytes += 8, left -= 8) {
        memcpy(&part, bytes, 8);
        hash = (hash ^ part) * 0xD6E8FEB86659FD93u;
        hash ^= hash >> 32;
    }
    if (left) {
        part = 0;
        memcpy(&part, bytes, left);
        hash = (hash ^ part) * 0xD6E8FEB86659FD93u;
        hash ^= hash >> 32;
    }
    t->hash = (uint32_t)hash;
}

enum { IID_UNITS = 38 };

static void iid_units(uint16_t *to, const uint8_t *iid) {
    static const uint8_t order[] = {3, 2, 1, 0, 255, 5, 4, 255, 7, 6, 255, 8, 9, 255, 10, 11, 12, 13, 14, 15};
    static const char digits[] = "0123456789abcdef";
    size_t i;
    *to++ = '{';
    for (i = 0; i < sizeof order; i++)
        if (order[i] == 255)
            *to++ = '-';
        else {
            *to++ = (uint16_t)digits[iid[order[i]] >> 4];
            *to++ = (uint16_t)digits[iid[order[i]] & 15];
        }
    *to++ = '}';
    *to = 0;
}

NOINLINE static word new_thread(void) {
    word thread;
    lock_take(&recordings_lock);
    threads_seen += THREAD_STEP;
    thread = threads_seen;
    lock_give(&recordings_lock);
    return thread;
}

static int write_enter(recording *r, unsigned slot, const word *words, text *texts, word thread, ticket *mark) {
    const plan *p = &r->plans[slot];
    uint8_t small[SMALL_RECORD], *record = small, *at;
    size_t i, extra = 0;
    int64_t now, ticks;
    int failed;
    part *file;
    stream *s;
    if (!LIKELY(!r->path) && is_due(r->part) && follow(r)) return -1;
    file = r->part;
    s = stream_of(r, file, thread);
    if (!s) return -1;
    for (i = 0; i < p->count; i++)
        if ((p->kinds[i] == IN_TEXT || p->kinds[i] == IN_IID) && words[i]) {
            if (!texts[i].packed && look_up(r, file, &texts[i])) return -1;
            extra += texts[i].packed_size;
        }
    if (!LIKELY(!extra)) {
        if (extra > MAX_RECORD - SMALL_RECORD) {
            stop(r, "a record is longer than a trace holds");
            return -1;
        }
        record = malloc(SMALL_RECORD + extra);
        if (!record) {
            stop(r, NO_MEMORY);
            return -1;
        }
    }
    now = r->clock(r->clock_context) >> TICK_BITS;
    ticks = now - s->last;
    at = record;
    *at++ = (uint8_t)(0x90 | (3 + p->inputs));
    at = put_unsigned(at, KIND_ENTER + slot);
    at = put_signed(at, ticks);
    at = put_unsigned(at, s->number);
    failed = 0;
    for (i = 0; i < p->count && !failed; i++) {
        int kind = p->kinds[i];
        if (kind <= IN_U64)
            at = put_integer(at, kind, words[i]);
        else if (kind == IN_TEXT || kind == IN_IID) {
            if (!words[i])
                *at++ = 0;
            else if (LIKELY(!texts[i].packed))
                at = put_unsigned(at, (uint64_t)texts[i].number);
            else {
                memcpy(at, texts[i].packed, texts[i].packed_size);
                at += texts[i].packed_size;
            }
        } else if (kind == IN_SYMBOL) {
            int64_t token = 0;
            if (!words[i])
                at = put_nil(at);
            else if (!(failed = symbol(r, words[i], &token)))
                at = put_signed(at, token);
        } else if (kind < FILLED)
            at = words[i] ? put_integer(at, kind - IN_BY_ADDRESS, scalar_at(kind - IN_BY_ADDRESS, words[i])) : put_nil(at);
    }
    failed = failed || append(r, file, record, at);
    if (record != small) free(record);
    if (failed) return -1;
    s->last = now;
    if (open_call(r, s, &mark->call)) return -1;
    file->open++;
    mark->start = now;
    mark->part = file;
    mark->stream = s;
    return 0;
}

static int is_here(const recording *r) { return LOAD(&r->live) && r->generation == LOAD(&generation); }

/* A call begins: the record is in the file when this returns. */
static void enter(recording *r, unsigned slot, const word *words, ticket *mark) {
    const plan *p = &r->plans[slot];
    text texts[SYNCTAPE_MAX_PARAMETERS];
    uint16_t iids[SYNCTAPE_MAX_PARAMETERS][IID_UNITS + 1];
    word thread;
    saved_error error;
    int failed = 0, flushes;
    size_t i;
    mark->stream = NULL;
    if (!is_here(r)) return;
    error = error_save();
    thread = thread_get();
    if (thread & BUSY) { /* a signal handler that has interrupted the recorder on this very thread */
        error_restore(error);
        return;
    }
    thread_set(thread | BUSY);
    if (!LIKELY(thread)) thread = new_thread();
    for (i = 0; i < p->count; i++) {
        if (p->kinds[i] != IN_TEXT && p->kinds[i] != IN_IID) continue;
        if (!words[i]) continue;
        if (p->kinds[i] == IN_IID) iid_units(iids[i], (const uint8_t *)(uintptr_t)words[i]);
        measure(&texts[i], p->kinds[i] == IN_IID ? iids[i] : (const uint16_t *)(uintptr_t)words[i]);
        if (!LIKELY(texts[i].count <= MAX_INTERNED_UNITS) && spell(&texts[i])) failed = 1;
    }
    lock_take(&r->lock);
    if (LOAD(&r->live)) {
        if (failed)
            stop(r, NO_MEMORY);
        else
            write_enter(r, slot, words, texts, thread, mark);
    }
    flushes = is_to_flush(r);
    lock_give(&r->lock);
    if (!LIKELY(!flushes)) flush(r);
    for (i = 0; i < p->count; i++)
        if ((p->kinds[i] == IN_TEXT || p->kinds[i] == IN_IID) && words[i] && texts[i].packed) free(texts[i].packed);
    thread_set(thread);
    error_restore(error);
}

/* A call has ended in a file: one that is full and in which none is open any more is ended. */
static void ended(recording *r, part *p, int stopped) {
    part **at = &r->retired;
    if (stopped || --p->open || p == r->part) return;
    while (*at != p) at = &(*at)->next;
    *at = p->next;
    end_part(r, p, GOES_ON);
    free_part(p);
}

static void write_leave(recording *r, const ticket *mark, unsigned slot, const word *words, word answer, int64_t ticks) {
    const plan *p = &r->plans[slot];
    uint8_t record[SMALL_RECORD], *at = record;
    uint32_t back = close_call(mark->stream, mark->call);
    int outputs = words ? p->outputs : 0, result = 1;
    size_t i;
    if (p->returns == IN_I32 || p->returns == IN_U32)
        result = (uint32_t)answer != 0;
    else if (p->returns != RETURNS_NOTHING && p->returns != IN_SYMBOL)
        result = answer != 0;
    *at++ = (uint8_t)(outputs ? 0x96 : back ? 0x95 : result ? 0x94 : 0x93);
    *at++ = KIND_LEAVE;
    at = put_signed(at, ticks);
    at = put_unsigned(at, mark->stream->number);
    if (outputs || back || result) {
        int64_t token;
        if (p->returns == RETURNS_NOTHING || (p->returns == IN_SYMBOL && !answer))
            at = put_nil(at);
        else if (p->returns == IN_SYMBOL) {
            if (symbol(r, answer, &token)) return;
            *at++ = 0x81;
            at = put_ascii(at, "h");
            at = put_signed(at, token);
        } else
            at = put_integer(at, p->returns, answer);
    }
    if (outputs || back) at = put_unsigned(at, back);
    if (outputs) {
        *at++ = (uint8_t)(0x90 | outputs);
        for (i = 0; i < p->count; i++) {
            int kind = p->kinds[i] - FILLED;
            word value;
            int64_t token;
            if (kind < 0) continue;
            value = words[i] ? scalar_at(kind, words[i]) : 0;
            if (!words[i] || (kind == IN_SYMBOL && !value))
                at = put_nil(at);
            else if (kind == IN_SYMBOL) {
                if (symbol(r, value, &token)) return;
                *at++ = 0x81;
                at = put_ascii(at, "h");
                at = put_signed(at, token);
            } else
                at = put_integer(at, kind, value);
        }
    }
    ended(r, mark->part, append(r, mark->part, record, at));
}

static void write_unwound(recording *r, const ticket *mark, int64_t ticks) {
    uint8_t record[SMALL_RECORD], *at = record;
    uint32_t back = close_call(mark->stream, mark->call);
    *at++ = 0x97;
    *at++ = KIND_FAIL;
    at = put_signed(at, ticks);
    at = put_unsigned(at, mark->stream->number);
    at = put_ascii(at, "raised");
    at = put_ascii(at, "unwound: an exception, or the end of the thread");
    at = put_ascii(at, "");
    at = put_unsigned(at, back);
    ended(r, mark->part, append(r, mark->part, record, at));
}

enum { RETURNED = 0, UNWOUND = 1 };

/* The call has ended.  `words` is NULL where its outputs are not shown. */
static void leave(recording *r, const ticket *mark, unsigned slot, const word *words, word answer, int how) {
    saved_error error;
    word thread;
    int flushes;
    if (!mark->stream || !is_here(r)) return;
    error = error_save();
    thread = thread_get();
    thread_set(thread | BUSY);
    lock_take(&r->lock);
    if (LOAD(&r->live)) {
        int64_t now = r->clock(r->clock_context) >> TICK_BITS;
        if (how == UNWOUND)
            write_unwound(r, mark, now - mark->start);
        else
            write_leave(r, mark, slot, words, answer, now - mark->start);
    }
    flushes = is_to_flush(r);
    lock_give(&r->lock);
    if (!LIKELY(!flushes)) flush(r);
    thread_set(thread);
    error_restore(error);
}

/* --- IUnknown ------------------------------------------------------------------------------------------------ */

/* The new count; 0 if the object is gone. */
static uint32_t count_up(recording *r) {
    uint32_t now;
    do
        if (!(now = LOAD(&r->references))) return 0;
    while (!swap_if(&r->references, now, now + 1));
    return now + 1;
}

/* The new count; `was` is the one before. */
static uint32_t count_down(recording *r, uint32_t *was) {
    uint32_t now;
    do
        if (!(now = *was = LOAD(&r->references))) return 0;
    while (!swap_if(&r->references, now, now - 1));
    return now - 1;
}

static void release_inner(recording *r) { ((uint32_t(*)(void *))(*(const function **)r->inner)[2])(r->inner); }

static void end(recording *r) {
    if (!is_here(r)) return;
    lock_take(&r->lock);
    finish(r, "");
    lock_give(&r->lock);
}

static int32_t QueryInterface(recording *r, const uint8_t *riid, void **ppv) {
    word words[2];
    ticket mark;
    int32_t answer = E_NOINTERFACE_;
    unsigned i;
    words[0] = (word)(uintptr_t)riid;
    words[1] = 0;
    if (ppv) *ppv = NULL;
    if (!LOAD(&r->references)) return CO_E_OBJNOTCONNECTED_;
    enter(r, 0, words, &mark);
    if (!ppv)
        answer = E_POINTER_;
    else if (!riid)
        answer = E_INVALIDARG_;
    else
        for (i = 0; i < r->iid_count; i++)
            if (!memcmp(riid, r->iids[i], 16)) {
                answer = count_up(r) ? S_OK_ : CO_E_OBJNOTCONNECTED_;
                if (answer == S_OK_) *ppv = r;
                break;
            }
    leave(r, &mark, 0, NULL, (word)(int64_t)answer, RETURNED);
    return answer;
}

static uint32_t AddRef(recording *r) {
    ticket mark;
    uint32_t now;
    if (!LOAD(&r->references)) return 0;
    enter(r, 1, NULL, &mark);
    now = count_up(r);
    leave(r, &mark, 1, NULL, now, RETURNED);
    return now;
}

static uint32_t Release(recording *r) {
    ticket mark;
    uint32_t now, was;
    if (!LOAD(&r->references)) return 0;
    enter(r, 2, NULL, &mark);
    now = count_down(r, &was);
    leave(r, &mark, 2, NULL, now, RETURNED);
    if (!now && was) {
        end(r);
        release_inner(r);
    }
    return now;
}

/* --- all other methods --------------------------------------------------------------------------------------- */

static void clear_outputs(const plan *p, const word *words) {
    size_t i;
    for (i = 0; i < p->count; i++)
        if (p->kinds[i] >= FILLED && words[i])
            memset((void *)(uintptr_t)words[i], 0, p->kinds[i] - FILLED == IN_I32 || p->kinds[i] - FILLED == IN_U32 ? 4 : 8);
}

/* What a call on an object that is gone gives. */
static word nobody(const plan *p, const word *words) {
    clear_outputs(p, words);
    return p->is_result ? (word)(int64_t)CO_E_OBJNOTCONNECTED_ : 0;
}

/* A call that is passed on: one that does not return leaves by way of `unwound`. */
typedef struct passing {
    recording *r; /* NULL: nothing is under way */
    ticket mark;
} passing;

static inline void unwound(passing *p) {
    if (!LIKELY(!p->r)) leave(p->r, &p->mark, 0, NULL, 0, UNWOUND);
}

/* Up to three words: the ones beyond a method's own are whatever the registers hold, and are not looked at. */
NOINLINE static word call_few(recording *r, unsigned slot, word a, word b, word c) {
    typedef word (*few)(void *, word, word, word);
    const plan *p = &r->plans[slot];
    word words[3], answer;
    ON_UNWINDING(unwound) passing call = {NULL, {NULL, NULL, 0, 0}};
    words[0] = a;
    words[1] = b;
    words[2] = c;
    if (!LOAD(&r->references)) return nobody(p, words);
    if (p->outputs) clear_outputs(p, words);
    enter(r, slot, words, &call.mark);
    call.r = r;
    answer = ((few)(*(const function **)r->inner)[slot])(r->inner, a, b, c);
    call.r = NULL;
    leave(r, &call.mark, slot, words, answer, RETURNED);
    return answer;
}

NOINLINE static word call_many(recording *r, unsigned slot, const word *w) {
    typedef word (*many)(void *, word, word, word, word, word, word, word, word, word, word, word, word);
    const plan *p = &r->plans[slot];
    word answer;
    ON_UNWINDING(unwound) passing call = {NULL, {NULL, NULL, 0, 0}};
    if (!LOAD(&r->references)) return nobody(p, w);
    if (p->outputs) clear_outputs(p, w);
    enter(r, slot, w, &call.mark);
    call.r = r;
    answer = ((many)(*(const function **)r->inner)[slot])(r->inner, w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8],
                                                          w[9], w[10], w[11]);
    call.r = NULL;
    leave(r, &call.mark, slot, w, answer, RETURNED);
    return answer;
}

#define ENTRIES(n)                                                                                                     \
    static word few_##n(recording *r, word a, word b, word c) { return call_few(r, 0##n, a, b, c); }                   \
    static word many_##n(recording *r, word a, word b, word c, word d, word e, word f, word g, word h, word i, word j, \
                         word k, word l) {                                                                             \
        word words[12];                                                                                                \
        words[0] = a, words[1] = b, words[2] = c, words[3] = d, words[4] = e, words[5] = f;                            \
        words[6] = g, words[7] = h, words[8] = i, words[9] = j, words[10] = k, words[11] = l;                          \
        return call_many(r, 0##n, words);                                                                              \
    }
#define EIGHT(m, n) m(n##0) m(n##1) m(n##2) m(n##3) m(n##4) m(n##5) m(n##6) m(n##7)
#define ALL(m) EIGHT(m, 0) EIGHT(m, 1) EIGHT(m, 2) EIGHT(m, 3) EIGHT(m, 4) EIGHT(m, 5) EIGHT(m, 6) EIGHT(m, 7)
ALL(ENTRIES) /* few_00 to few_77: slots in octal */

#define FEW(n) (function)few_##n,
#define MANY(n) (function)many_##n,
static const function FEW_ENTRIES[] = {ALL(FEW)};
static const function MANY_ENTRIES[] = {ALL(MANY)};

/* --- beginning ----------------------------------------------------------------------------------------------- */

static const char *const TYPE_NAMES[] = {"void",    "bool", "i32",    "u32",     "i64", "u64",
                                         "hresult", "text", "handle", "pointer", "iid"};

typedef struct bytes {
    uint8_t *data;
    size_t size, room;
    int failed;
} bytes;

static uint8_t *bytes_room(bytes *b, size_t more) {
    static uint8_t nowhere[1024];
    if (b->size + more > b->room && !b->failed) {
        size_t room = 2 * b->room + more + 1024;
        uint8_t *data = realloc(b->data, room);
        b->failed = !data;
        if (data) b->data = data, b->room = room;
    }
    return b->failed ? nowhere : b->data + b->size;
}

static void bytes_end(bytes *b, const uint8_t *at) {
    if (!b->failed) b->size = (size_t)(at - b->data);
}

static void add_text(bytes *b, const char *value) {
    char cut[201]; /* the format's limit of a name */
    copy_text(cut, sizeof cut, value);
    bytes_end(b, put_ascii(bytes_room(b, sizeof cut + 8), cut));
}

static void add_byte(bytes *b, int byte) {
    uint8_t *at = bytes_room(b, 1);
    *at = (uint8_t)byte;
    bytes_end(b, at + 1);
}

static void add_array(bytes *b, size_t count) {
    uint8_t *at = bytes_room(b, 3);
    if (count < 16)
        *at++ = (uint8_t)(0x90 | count);
    else
        at = put_big(at, 0xDC, count, 2);
    bytes_end(b, at);
}

static void add_signed(bytes *b, int64_t value) { bytes_end(b, put_signed(bytes_room(b, 9), value)); }

static void add_pair(bytes *b, const char *name, const char *value) {
    add_text(b, name);
    add_text(b, value);
}

static void add_interface(bytes *b, const synctape_interface *i) {
    unsigned m, n;
    char iid[64];
    copy_text(iid, sizeof iid, i->iid);
    for (n = 0; iid[n]; n++)
        if (iid[n] >= 'A' && iid[n] <= 'F') iid[n] = (char)(iid[n] + 32);
    add_byte(b, 0x84);
    add_pair(b, "name", i->name);
    add_pair(b, "iid", iid);
    add_text(b, "base");
    if (i->base)
        add_interface(b, i->base);
    else
        add_byte(b, 0xC0);
    add_text(b, "methods");
    add_array(b, i->count);
    for (m = 0; m < i->count; m++) {
        const synctape_method *method = &i->methods[m];
        add_byte(b, 0x83);
        add_pair(b, "name", method->name);
        add_pair(b, "returns", TYPE_NAMES[method->returns]);
        add_text(b, "parameters");
        add_array(b, method->count);
        for (n = 0; n < method->count; n++) {
            const synctape_parameter *p = &method->parameters[n];
            add_byte(b, 0x95);
            add_pair(b, p->name, TYPE_NAMES[p->type]);
            add_text(b, p->out ? "out" : "in");
            add_byte(b, p->nullable ? 0xC3 : 0xC2);
            add_byte(b, p->pointer ? 0xC3 : 0xC2);
        }
    }
}

static void add_header(bytes *b, const synctape_interface *i, const uint32_t *flags) {
    char program[256];
    program_name(program, sizeof program);
    add_array(b, 3);
    add_text(b, "synctape");
    add_byte(b, 1);
    add_byte(b, 0x89);
    add_text(b, "interface");
    add_interface(b, i);
    add_text(b, "created_ns");
    add_signed(b, wall_ns());
    add_text(b, "tick_ns");
    add_signed(b, 1 << TICK_BITS);
    add_text(b, "pointer_size");
    add_signed(b, (int64_t)sizeof(void *));
    add_text(b, "sync_flags");
    if (flags)
        add_signed(b, *flags);
    else
        add_byte(b, 0xC0);
    add_text(b, "redaction");
    add_byte(b, 0xC0);
    add_text(b, "process");
    add_byte(b, 0x84);
    add_text(b, "pid");
    add_signed(b, (int64_t)process_id());
    add_pair(b, "program", program);
#ifdef _WIN32
    add_pair(b, "system", "win32");
#elif defined(__linux__)
    add_pair(b, "system", "linux");
#elif defined(__APPLE__)
    add_pair(b, "system", "darwin");
#else
    add_pair(b, "system", "unix");
#endif
#if defined(_WIN32) && (defined(__x86_64__) || defined(_M_X64))
    add_pair(b, "machine", "AMD64");
#elif defined(__x86_64__)
    add_pair(b, "machine", "x86_64");
#elif defined(__aarch64__) || defined(_M_ARM64)
    add_pair(b, "machine", "aarch64");
#else
    add_pair(b, "machine", "");
#endif
    add_text(b, "target");
    add_byte(b, 0x80);
    add_text(b, "provenance");
    add_byte(b, 0x82);
    add_pair(b, "kind", "captured");
    add_pair(b, "recorder", "synctape_record.c");
}

static int parse_iid(const char *textual, uint8_t *iid) {
    static const uint8_t order[] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
    size_t n = 0;
    for (; *textual; textual++) {
        int digit;
        if (*textual == '{' || *textual == '}' || *textual == '-') continue;
        if (*textual >= '0' && *textual <= '9')
            digit = *textual - '0';
        else if ((*textual | 32) >= 'a' && (*textual | 32) <= 'f')
            digit = (*textual | 32) - 'a' + 10;
        else
            return -1;
        if (n == 32) return -1;
        iid[order[n / 2]] = (uint8_t)(n % 2 ? iid[order[n / 2]] | digit : digit << 4);
        n++;
    }
    return n == 32 ? 0 : -1;
}

/* What the recorder calls a type; -1: it cannot be there. */
static int kind_of(int type) {
    switch (type) {
    case SYNCTAPE_BOOL:
    case SYNCTAPE_I32:
    case SYNCTAPE_HRESULT: return IN_I32;
    case SYNCTAPE_U32: return IN_U32;
    case SYNCTAPE_I64: return IN_I64;
    case SYNCTAPE_U64: return IN_U64;
    case SYNCTAPE_TEXT: return IN_TEXT;
    case SYNCTAPE_IID: return IN_IID;
    case SYNCTAPE_HANDLE:
    case SYNCTAPE_POINTER: return IN_SYMBOL;
    default: return -1;
    }
}

static const char *make_plan(plan *to, const synctape_method *method) {
    unsigned n;
    int kind = kind_of(method->returns);
    if (method->count > SYNCTAPE_MAX_PARAMETERS) return "a method has over 12 parameters";
    if (method->returns != SYNCTAPE_VOID && (kind < 0 || kind == IN_TEXT || kind == IN_IID))
        return "a method returns what the recorder does not know";
    to->returns = (uint8_t)(method->returns == SYNCTAPE_VOID ? RETURNS_NOTHING : kind);
    to->is_result = method->returns == SYNCTAPE_HRESULT;
    to->count = method->count;
    for (n = 0; n < method->count; n++) {
        const synctape_parameter *p = &method->parameters[n];
        kind = kind_of(p->type);
        if (kind < 0 || (p->out && (p->pointer || kind == IN_TEXT || kind == IN_IID)) || (p->pointer && kind > IN_U64))
            return "a parameter is of a kind that the recorder does not know";
        to->kinds[n] = (uint8_t)(kind + (p->out ? FILLED : p->pointer ? IN_BY_ADDRESS : 0));
        if (p->out)
            to->outputs++;
        else
            to->inputs++;
    }
    return NULL;
}

/* The plans of all slots, and the IIDs; gives what is wrong, or NULL. */
static const char *make_plans(recording *r, const synctape_interface *i) {
    const synctape_interface *chain[MAX_BASES];
    unsigned depth = 0, m;
    const char *wrong;
    for (; i; i = i->base) {
        if (depth == MAX_BASES) return "the interface has too many bases";
        if (parse_iid(i->iid, r->iids[depth])) return "an interface's iid is none";
        chain[depth++] = i;
        r->slots += i->count;
    }
    r->iid_count = depth;
    if (memcmp(r->iids[depth - 1], UNKNOWN_IID, 16))
        return "the interface does not derive from IUnknown";
    if (r->slots < 3 || r->slots > SYNCTAPE_MAX_SLOTS) return "the interface has under 3 or over 64 methods";
    r->plans = calloc(r->slots, sizeof *r->plans);
    if (!r->plans) return NO_MEMORY;
    r->slots = 0;
    while (depth--)
        for (m = 0; m < chain[depth]->count; m++)
            if ((wrong = make_plan(&r->plans[r->slots++], &chain[depth]->methods[m]))) return wrong;
    return NULL;
}

static const function *make_vtable(const recording *r) {
    function *vtable = malloc(r->slots * sizeof *vtable);
    unsigned slot;
    if (!vtable) return NULL;
    for (slot = 0; slot < r->slots; slot++)
        vtable[slot] = (r->plans[slot].count <= 3 ? FEW_ENTRIES : MANY_ENTRIES)[slot];
    vtable[0] = (function)QueryInterface;
    vtable[1] = (function)AddRef;
    vtable[2] = (function)Release;
    return vtable;
}

/* The process ends: end what is still open, if nobody is in its middle. */
static void end_all(void) {
    recording *r;
    for (r = recordings; r; r = r->next)
        if (is_here(r) && lock_try(&r->lock)) {
            finish(r, "");
            lock_give(&r->lock);
        }
}

#ifndef _WIN32
/* A forked child records nothing: the file is its parent's, and so may locks be that somebody held. */
static void in_child(void) {
    lock_init(&recordings_lock);
    STORE(&generation, generation + 1);
}
#endif

static void begin(void) {
    static int begun;
    lock_take(&recordings_lock);
    if (!begun) {
        crc_begin();
#ifdef _WIN32
        {
            LARGE_INTEGER frequency;
            QueryPerformanceFrequency(&frequency);
            counts_per_second = (uint64_t)frequency.QuadPart;
            thread_slot = TlsAlloc();
        }
#else
        pthread_atfork(NULL, NULL, in_child);
#endif
        atexit(end_all);
        begun = 1;
    }
    lock_give(&recordings_lock);
}

/* The header that is given, or one from facts; -1: no memory. */
static int take_header(recording *r, const synctape_interface *i, const synctape_options *options) {
    bytes b = {NULL, 0, 0, 0};
    if (options->header) {
        uint8_t *at = bytes_room(&b, options->header_size);
        if (!b.failed) {
            memcpy(at, options->header, options->header_size);
            b.size = options->header_size;
        }
    } else
        add_header(&b, i, options->sync_flags);
    if (b.failed) {
        free(b.data);
        return -1;
    }
    r->header = b.data;
    r->header_size = b.size;
    return 0;
}

/* What tells the files of one recording from those of another: 16 hex digits. */
static void make_id(recording *r) {
    uint64_t id = (uint64_t)wall_ns() ^ process_id() << 40 ^ (uint64_t)(uintptr_t)r;
    size_t i;
    id = (id ^ id >> 30) * 0xBF58476D1CE4E5B9u;
    id = (id ^ id >> 27) * 0x94D049BB133111EBu;
    id ^= id >> 31;
    for (i = 0; i < 16; i++) r->id[i] = "0123456789abcdef"[id >> (4 * i) & 15];
}

/* Take over what is said of files; gives what is wrong, or NULL. */
static const char *take_bounds(recording *r, const char *path, const synctape_options *options) {
    r->sync = options->sync_ns;
    r->synced = monotonic_ns(NULL);
    if (!options->max_size) return NULL;
    if (options->max_size < SYNCTAPE_LEAST_SIZE) return "a recording in several files takes 1 MiB at least";
    r->limit = (options->max_size / FILES - RESERVE) & ~(uint64_t)0xFFFF;
    r->keep_first = !options->ring;
    r->path = malloc(strlen(path) + 1);
    if (!r->path) return NO_MEMORY;
    copy_text(r->path, strlen(path) + 1, path);
    make_id(r);
    return is_taken(r) ? EXISTS : NULL;
}

static void *refuse(recording *r, char *problem, const char *before, const char *reason) {
    if (problem) {
        char *end = copy_text(problem, SYNCTAPE_PROBLEM, before);
        copy_text(end, SYNCTAPE_PROBLEM - (size_t)(end - problem), reason);
    }
    if (r) {
        forget(r);
        free((void *)(uintptr_t)r->vtable);
        free(r->plans);
        free(r);
    }
    return NULL;
}

void *synctape_record_with(void *inner, const char *path, const synctape_options *options, char *problem) {
    static const synctape_options none;
    const synctape_interface *i;
    const char *wrong;
    char reason[REASON] = "";
    recording *r;
    saved_error error = error_save();
    if (!options) options = &none;
    i = options->interface_ ? options->interface_ : &synctape_IMAPISyncProgressCallback;
    if (!inner) return refuse(NULL, problem, "NULL is no interface pointer", "");
    begin();
    r = calloc(1, sizeof *r);
    if (!r) return refuse(r, problem, NO_MEMORY, "");
    if ((wrong = make_plans(r, i))) return refuse(r, problem, wrong, "");
    r->vtable = make_vtable(r);
    if (!r->vtable) return refuse(r, problem, NO_MEMORY, "");
    r->inner = inner;
    r->references = 1;
    r->generation = LOAD(&generation);
    r->clock = options->clock ? options->clock : monotonic_ns;
    r->clock_context = options->clock_context;
    r->next_token = 1;
    lock_init(&r->lock);
    if ((wrong = take_bounds(r, path, options))) return refuse(r, problem, wrong, "");
    if (take_header(r, i, options)) return refuse(r, problem, NO_MEMORY, "");
    if (r->path) {
        char *first = malloc(strlen(path) + 16);
        if (!first) return refuse(r, problem, NO_MEMORY, "");
        part_path(r, 1, first);
        r->part = new_part(r, first, 1, reason);
        free(first);
    } else {
        r->part = new_part(r, path, 1, reason);
        free(r->header);
        r->header = NULL;
    }
    if (!r->part) return refuse(r, problem, strcmp(reason, EXISTS) ? "cannot be written: " : "", reason);
    r->live = 1;
    if (options->sync_event) synctape_record_sync_event(r, options->sync_event);
    r->sync_event_at = options->sync_event_at;
    lock_take(&recordings_lock);
    r->next = recordings;
    recordings = r;
    lock_give(&recordings_lock);
    error_restore(error);
    return r;
}

void *synctape_record(void *inner, const char *path) {
    void *recorded = synctape_record_with(inner, path, NULL, NULL);
    return recorded ? recorded : inner;
}

void synctape_record_sync_event(void *recorded, void *handle) {
    recording *r = recorded;
    word value = (word)(uintptr_t)handle;
    if (!value || value >= (word)-2 || !is_here(r)) return;
    lock_take(&r->lock);
    if (LOAD(&r->live) && !symbol_room(&r->symbols)) {
        size_t at = symbol_place(&r->symbols, value);
        if (!r->symbols.values[at]) {
            r->symbols.values[at] = value;
            r->symbols.tokens[at] = 0;
            r->symbols.count++;
        }
    }
    lock_give(&r->lock);
}

void synctape_record_flush(void *recorded) {
    recording *r = recorded;
    if (is_here(r)) flush(r);
}

void synctape_record_close(void *recorded) {
    recording *r = recorded;
    uint32_t was;
    end(r);
    if (!count_down(r, &was) && was) release_inner(r);
}

const char *synctape_record_stopped(void *recorded) {
    const recording *r = recorded;
    return !LOAD(&r->live) && r->reason[0] ? r->reason : NULL;
}

uint32_t synctape_record_references(void *recorded) { return LOAD(&((const recording *)recorded)->references); }
