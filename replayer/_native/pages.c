#define _GNU_SOURCE
#define _DARWIN_C_SOURCE
#include "pages.h"

#ifdef _WIN32

#include <windows.h>

size_t pages_size(void) {
    SYSTEM_INFO info;
    GetSystemInfo(&info);
    return info.dwPageSize;
}

static DWORD access_of(PagesAccess access) {
    return access == PAGES_NONE ? PAGE_NOACCESS : access == PAGES_READ ? PAGE_READONLY : PAGE_READWRITE;
}

int pages_map_twice(PagesTwice *pages, size_t size) {
    HANDLE section = CreateFileMappingW(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, (DWORD)((uint64_t)size >> 32),
                                        (DWORD)size, NULL);
    pages->size = size;
    pages->alias = 0;
    pages->written = pages->seen = NULL;
    if (section != NULL) {
        pages->written = MapViewOfFile(section, FILE_MAP_WRITE, 0, 0, size);
        pages->seen = MapViewOfFile(section, FILE_MAP_READ, 0, 0, size);
        CloseHandle(section); /* the views keep it */
        if (pages->written != NULL && pages->seen != NULL) {
            pages->alias = 1;
            return 0;
        }
        if (pages->written != NULL)
            UnmapViewOfFile(pages->written);
        if (pages->seen != NULL)
            UnmapViewOfFile(pages->seen);
    }
    pages->written = pages->seen = pages_map(size);
    return pages->seen == NULL ? -1 : 0;
}

void pages_unmap_twice(PagesTwice *pages) {
    if (!pages->alias) {
        pages_unmap(pages->seen, pages->size);
        return;
    }
    UnmapViewOfFile(pages->written);
    UnmapViewOfFile(pages->seen);
}

uint8_t *pages_map(size_t size) {
    return VirtualAlloc(NULL, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
}

void pages_unmap(uint8_t *at, size_t size) {
    (void)size;
    VirtualFree(at, 0, MEM_RELEASE);
}

void pages_protect(uint8_t *at, size_t size, PagesAccess access) {
    DWORD before;
    VirtualProtect(at, size, access_of(access), &before);
}

void pages_drop(uint8_t *at, size_t size) {
    VirtualFree(at, size, MEM_DECOMMIT);
}

#else

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

#ifndef MAP_ANONYMOUS
#define MAP_ANONYMOUS MAP_ANON
#endif

size_t pages_size(void) {
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* A file without a name; -1 if the system has none. */
static int nameless_file(void) {
#if defined(__linux__) && defined(MFD_CLOEXEC)
    return memfd_create("synctape", MFD_CLOEXEC);
#else
    char name[64];
    int descriptor;
    snprintf(name, sizeof name, "/synctape-%ld", (long)getpid());
    descriptor = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (descriptor >= 0)
        shm_unlink(name);
    return descriptor;
#endif
}

static uint8_t *mapped(void *at) {
    return at == MAP_FAILED ? NULL : at;
}

int pages_map_twice(PagesTwice *pages, size_t size) {
    const int descriptor = nameless_file();
    pages->size = size;
    pages->alias = 0;
    pages->written = pages->seen = NULL;
    if (descriptor >= 0) {
        if (ftruncate(descriptor, (off_t)size) == 0) {
            pages->written = mapped(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0));
            pages->seen = mapped(mmap(NULL, size, PROT_READ, MAP_SHARED, descriptor, 0));
        }
        close(descriptor);
        if (pages->written != NULL && pages->seen != NULL) {
            pages->alias = 1;
            return 0;
        }
        if (pages->written != NULL)
            munmap(pages->written, size);
        if (pages->seen != NULL)
            munmap(pages->seen, size);
    }
    pages->written = pages->seen = pages_map(size);
    return pages->seen == NULL ? -1 : 0;
}

void pages_unmap_twice(PagesTwice *pages) {
    munmap(pages->seen, pages->size);
    if (pages->alias)
        munmap(pages->written, pages->size);
}

uint8_t *pages_map(size_t size) {
    return mapped(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

void pages_unmap(uint8_t *at, size_t size) {
    munmap(at, size);
}

void pages_protect(uint8_t *at, size_t size, PagesAccess access) {
    mprotect(at, size, access == PAGES_NONE ? PROT_NONE : access == PAGES_READ ? PROT_READ : PROT_READ | PROT_WRITE);
}

void pages_drop(uint8_t *at, size_t size) {
    mmap(at, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

#endif
