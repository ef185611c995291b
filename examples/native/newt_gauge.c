/* A gauge in a text window: libnewt's scale widget as a host of IMAPISyncProgressCallback, as one writes it at first.
 *
 * The first Progress opens the window, Done closes it.  That is right for every sync that goes by the book, and
 * wrong for each of these:
 *
 *     Done(NULL, S_OK)                                          no window has been opened
 *     Progress("a", 0, 1), Done(NULL, S_OK), Done(NULL, S_OK)   text and window are gone, and freed once more
 *     Progress("a", 0, 1), Done(NULL, S_OK), Progress("b", 1, 1)   so is what the late call replaces
 *
 * newt wants a terminal; where there is none, as in a test, it gets a pseudo-terminal of its own.
 *
 *     cc -std=c99 -fPIC -shared -o newt_gauge.so newt_gauge.c -lnewt -lslang
 */
#define _XOPEN_SOURCE 600

#include <fcntl.h>
#include <newt.h>
#include <slang.h>

#include "../../tests/targets/native/callback.h"

#define WIDTH 50

typedef struct Gauge {
    Callback callback;
    newtComponent form, label, scale;
    char *text; /* the last one that was shown */
} Gauge;

/* newt is one for the whole process. */
static void start_newt(void) {
    static int started;
    const char *const terminal = getenv("TERM");
    if (started)
        return;
    started = 1;
    if (terminal == NULL || *terminal == 0 || strcmp(terminal, "dumb") == 0)
        setenv("TERM", "vt100", 1);
    if (!isatty(STDIN_FILENO)) {
        const int master = posix_openpt(O_RDWR | O_NOCTTY);
        if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0)
            abort();
        SLang_TT_Read_FD = open(ptsname(master), O_RDWR | O_NOCTTY);
        SLang_TT_Write_FD = open("/dev/null", O_WRONLY);
    }
    if (newtInit() != 0)
        abort();
    newtCls();
}

static void open_window(Gauge *gauge, uint32_t maximum) {
    newtCenteredWindow(WIDTH + 2, 4, "Send/Receive");
    gauge->label = newtLabel(1, 1, "");
    gauge->scale = newtScale(1, 2, WIDTH, maximum);
    gauge->form = newtForm(NULL, NULL, 0);
    newtFormAddComponents(gauge->form, gauge->label, gauge->scale, NULL);
    newtDrawForm(gauge->form);
}

static void forget_text(Gauge *gauge) {
    free(gauge->text);
}

static void close_window(Gauge *gauge) {
    forget_text(gauge);
    newtPopWindow();
    newtFormDestroy(gauge->form); /* and all that is on it */
}

/* As much of a text as the window shows, with a question mark for what is not ASCII. */
static void show_text(Gauge *gauge, const uint16_t *text) {
    char *const shown = malloc(WIDTH + 1);
    size_t length = 0;
    if (shown == NULL)
        return;
    for (; text[length] != 0 && length < WIDTH; length++)
        shown[length] = text[length] >= ' ' && text[length] < 0x7f ? (char)text[length] : '?';
    shown[length] = 0;
    newtLabelSetText(gauge->label, shown);
    forget_text(gauge);
    gauge->text = shown;
}

static int32_t METHOD progress(Callback *self, const uint16_t *text, uint32_t index, uint32_t maximum) {
    Gauge *gauge = (Gauge *)self;
    if (gauge->form == NULL)
        open_window(gauge, maximum);
    if (text != NULL)
        show_text(gauge, text);
    newtScaleSet(gauge->scale, index);
    newtRefresh();
    return S_OK;
}

static int32_t METHOD done(Callback *self, void *handle, int32_t result) {
    (void)result;
    close_window((Gauge *)self);
    self->done = 1;
    newtRefresh();
    if (handle != NULL)
        close_handle(handle);
    return S_OK;
}

/* A sync that was abandoned leaves its window behind. */
static uint32_t METHOD release(Callback *self) {
    Gauge *gauge = (Gauge *)self;
    if (self->references == 1 && gauge->form != NULL && !self->done)
        close_window(gauge);
    return callback_release(self);
}

static const CallbackVtbl vtbl = {
    callback_query_interface, callback_add_ref, release, progress, callback_error, done,
};

EXPORT int32_t create(void **ppv) {
    start_newt();
    return callback_create(ppv, sizeof(Gauge), &vtbl);
}
