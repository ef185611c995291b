/* Pages of memory whose protection can be changed, on POSIX and on Windows.  Nothing here knows what they are for. */
#ifndef SYNCTAPE_PAGES_H
#define SYNCTAPE_PAGES_H

#include <stddef.h>
#include <stdint.h>

typedef enum PagesAccess { PAGES_NONE, PAGES_READ, PAGES_WRITE } PagesAccess;

/* One piece of memory seen twice: what is written at `written + n` is read at `seen + n`.  Where the system gives no
 * second view both are the same, and the reader could write, too. */
typedef struct PagesTwice {
    uint8_t *written;
    uint8_t *seen;
    size_t size;
    int alias; /* whether `seen` is a view of its own, which nobody can write through */
} PagesTwice;

size_t pages_size(void); /* of one page */

int pages_map_twice(PagesTwice *pages, size_t size); /* 0, or -1; all readable through `seen` */
void pages_unmap_twice(PagesTwice *pages);

uint8_t *pages_map(size_t size); /* private, writable; NULL if there is no memory */
void pages_unmap(uint8_t *at, size_t size);
void pages_protect(uint8_t *at, size_t size, PagesAccess access);
void pages_drop(uint8_t *at, size_t size); /* give the memory back, keep the addresses, which become inaccessible */

#endif
