/* Records very many calls, and tells at each tenth what memory the process has: long_recording PATH CALLS SIZE RING
 *
 * One line a tenth: KiB that are resident, KiB of them that are no file's.
 */
#include "callback.h"
#include "synctape_record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void tell(void) {
    char line[128];
    unsigned long resident = 0, own = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status)) {
        if (!strncmp(line, "VmRSS:", 6)) resident = strtoul(line + 6, NULL, 10);
        if (!strncmp(line, "RssAnon:", 8)) own = strtoul(line + 8, NULL, 10);
    }
    if (status) fclose(status);
    printf("%lu %lu\n", resident, own);
    fflush(stdout);
}

int main(int argc, char **argv) {
    static uint16_t texts[100000][16];
    callback host = {&HOST, NULL}, *recorded;
    synctape_options options;
    uint64_t calls, call;
    unsigned n, at;
    if (argc < 5) return 2;
    calls = strtoull(argv[2], NULL, 10);
    memset(&options, 0, sizeof options);
    options.max_size = strtoull(argv[3], NULL, 10);
    options.ring = atoi(argv[4]);
    for (n = 0; n < 100000; n++) {
        char text[16];
        snprintf(text, sizeof text, "message %u", n);
        for (at = 0; at < sizeof text && text[at]; at++) texts[n][at] = (uint8_t)text[at];
    }
    recorded = synctape_record_with(&host, argv[1], &options, NULL);
    if (!recorded) return 3;
    for (call = 1; call <= calls; call++) {
        recorded->vtable->Progress(recorded, texts[call % 100000], (uint32_t)call, (uint32_t)calls);
        if (call % (calls / 10) == 0) tell();
    }
    if (synctape_record_stopped(recorded)) return 4;
    recorded->vtable->Release(recorded);
    return 0;
}
