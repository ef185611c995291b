/* The Python module `recorder._native.core`, in the limited API of Python 3.11: what `recorder.recorded_pointer` needs of
 * synctape_record.c, and `recorder.tally` of tally.c. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "synctape_record.h"
#include "tally.h"

#include <stdlib.h>
#include <string.h>

/* --- an interface from Python's description ------------------------------------------------------------------ */

enum { MAX_CHAIN = 8 };

typedef struct description {
    synctape_interface chain[MAX_CHAIN]; /* the interface, its base, ... */
    synctape_method methods[SYNCTAPE_MAX_SLOTS];
    synctape_parameter parameters[SYNCTAPE_MAX_SLOTS][SYNCTAPE_MAX_PARAMETERS];
    char iids[MAX_CHAIN][48];
} description;

/* `iids` are texts, the interface's own first; `slots` are bytes: the type returned, and for each parameter its type, with
 * 16 for an output and 32 for an integer by address.  The names are in the header, which comes from Python. */
static int describe(description *to, PyObject *iids, PyObject *slots) {
    Py_ssize_t count = PyTuple_Size(iids), slot_count = PyTuple_Size(slots), n, i;
    if (count < 1 || count > MAX_CHAIN || slot_count < 0 || slot_count > SYNCTAPE_MAX_SLOTS) goto wrong;
    for (n = 0; n < count; n++) {
        PyObject *text = PyUnicode_AsASCIIString(PyTuple_GetItem(iids, n));
        const char *iid = text ? PyBytes_AsString(text) : NULL;
        if (!iid) return -1;
        if (strlen(iid) >= sizeof to->iids[n]) {
            Py_DECREF(text);
            goto wrong;
        }
        strcpy(to->iids[n], iid);
        Py_DECREF(text);
        to->chain[n].name = "";
        to->chain[n].iid = to->iids[n];
        to->chain[n].base = n + 1 < count ? &to->chain[n + 1] : NULL;
        to->chain[n].count = n + 1 < count ? 0 : (unsigned)slot_count; /* all methods stand in the root */
        to->chain[n].methods = to->methods;
    }
    for (n = 0; n < slot_count; n++) {
        char *types;
        Py_ssize_t size;
        if (PyBytes_AsStringAndSize(PyTuple_GetItem(slots, n), &types, &size)) return -1;
        if (size < 1 || size > 1 + SYNCTAPE_MAX_PARAMETERS) goto wrong;
        to->methods[n].name = "";
        to->methods[n].returns = (uint8_t)types[0];
        to->methods[n].count = (uint8_t)(size - 1);
        to->methods[n].parameters = to->parameters[n];
        for (i = 1; i < size; i++) {
            synctape_parameter *p = &to->parameters[n][i - 1];
            p->name = "";
            p->type = types[i] & 15;
            p->out = types[i] >> 4 & 1;
            p->pointer = types[i] >> 5 & 1;
        }
    }
    return 0;
wrong:
    PyErr_SetString(PyExc_ValueError, "not an interface that the core can record");
    return -1;
}

/* --- a clock for tests --------------------------------------------------------------------------------------- */

typedef struct readings {
    size_t next, count;
    int64_t ns[1];
} readings;

static int64_t read_next(void *context) {
    readings *r = context;
    return r->ns[r->next < r->count ? r->next++ : r->count - 1];
}

static readings *readings_of(PyObject *clock) { /* they are needed as long as calls may come: for good */
    Py_ssize_t count = PyTuple_Size(clock), n;
    readings *r;
    if (count < 1) {
        PyErr_SetString(PyExc_ValueError, "a clock needs readings");
        return NULL;
    }
    r = malloc(sizeof *r + (size_t)count * sizeof r->ns[0]);
    if (!r) {
        PyErr_NoMemory();
        return NULL;
    }
    r->next = 0;
    r->count = (size_t)count;
    for (n = 0; n < count; n++) r->ns[n] = PyLong_AsLongLong(PyTuple_GetItem(clock, n));
    if (PyErr_Occurred()) {
        free(r);
        return NULL;
    }
    return r;
}

/* --- functions ----------------------------------------------------------------------------------------------- */

PyDoc_STRVAR(record_doc,
             "record(inner, path, header, iids, slots, sync_event, sync_event_at, clock, max_size, ring, sync_ns) -> address\n\n"
             "Takes over a reference to `inner`.  Raises OSError with the text of why there is no recording.");

static PyObject *record(PyObject *module, PyObject *args) {
    unsigned long long inner, sync_event, sync_event_at, max_size;
    long long sync_ns;
    int ring;
    PyObject *path, *header, *iids, *slots, *clock;
    synctape_options options;
    description *interface_;
    char problem[SYNCTAPE_PROBLEM] = "", *packed, *name;
    Py_ssize_t size;
    readings *times = NULL;
    void *recorded;
    (void)module;
    if (!PyArg_ParseTuple(args, "KO!O!O!O!KKOKpL", &inner, &PyBytes_Type, &path, &PyBytes_Type, &header, &PyTuple_Type,
                          &iids, &PyTuple_Type, &slots, &sync_event, &sync_event_at, &clock, &max_size, &ring,
                          &sync_ns))
        return NULL;
    if (PyBytes_AsStringAndSize(path, &name, NULL)) return NULL; /* ValueError: a NUL within */
    if (PyBytes_AsStringAndSize(header, &packed, &size)) return NULL;
    interface_ = calloc(1, sizeof *interface_);
    if (!interface_) return PyErr_NoMemory();
    if (describe(interface_, iids, slots) || (clock != Py_None && !(times = readings_of(clock)))) {
        free(interface_);
        return NULL;
    }
    memset(&options, 0, sizeof options);
    options.interface_ = interface_->chain;
    options.header = packed;
    options.header_size = (size_t)size;
    options.sync_event = (void *)(uintptr_t)sync_event;
    options.sync_event_at = (void *const *)(uintptr_t)sync_event_at;
    options.max_size = max_size;
    options.ring = ring;
    options.sync_ns = sync_ns;
    if (times) {
        options.clock = read_next;
        options.clock_context = times;
    }
    recorded = synctape_record_with((void *)(uintptr_t)inner, name, &options, problem);
    free(interface_);
    if (recorded) return PyLong_FromVoidPtr(recorded);
    free(times);
    PyErr_SetString(PyExc_OSError, problem);
    return NULL;
}

/* An address that `record` gave; NULL with an exception set if it is no address at all. */
static void *recorded_of(PyObject *address) { return PyLong_AsVoidPtr(address); }

static PyObject *close_(PyObject *module, PyObject *address) {
    void *recorded = recorded_of(address);
    PyThreadState *state;
    (void)module;
    if (!recorded) return NULL;
    state = PyEval_SaveThread();
    synctape_record_close(recorded);
    PyEval_RestoreThread(state);
    Py_RETURN_NONE;
}

static PyObject *flush(PyObject *module, PyObject *address) {
    void *recorded = recorded_of(address);
    PyThreadState *state;
    (void)module;
    if (!recorded) return NULL;
    state = PyEval_SaveThread();
    synctape_record_flush(recorded);
    PyEval_RestoreThread(state);
    Py_RETURN_NONE;
}

static PyObject *references(PyObject *module, PyObject *address) {
    void *recorded = recorded_of(address);
    (void)module;
    return recorded ? PyLong_FromUnsignedLong(synctape_record_references(recorded)) : NULL;
}

static PyObject *stopped(PyObject *module, PyObject *address) {
    void *recorded = recorded_of(address);
    const char *reason;
    (void)module;
    if (!recorded) return NULL;
    reason = synctape_record_stopped(recorded);
    if (!reason) Py_RETURN_NONE;
    return PyUnicode_DecodeUTF8(reason, (Py_ssize_t)strlen(reason), "replace");
}

static PyObject *set_sync_event(PyObject *module, PyObject *args) {
    unsigned long long recorded, handle;
    (void)module;
    if (!PyArg_ParseTuple(args, "KK", &recorded, &handle)) return NULL;
    synctape_record_sync_event((void *)(uintptr_t)recorded, (void *)(uintptr_t)handle);
    Py_RETURN_NONE;
}

/* --- figures of a trace --------------------------------------------------------------------------------------- */

static const char TALLY[] = "recorder.tally";

typedef struct counting {
    tally tally;
    PyObject *define, *text, *answer; /* borrowed while records are counted */
} counting;

static int taken(PyObject *result) {
    int yes = result ? PyObject_IsTrue(result) : -1;
    Py_XDECREF(result);
    return yes > 0;
}

static int call_define(void *context, const uint8_t *record, size_t size) {
    PyObject *define = ((counting *)context)->define;
    return taken(PyObject_CallFunction(define, "y#", (const char *)record, (Py_ssize_t)size));
}

static int call_text(void *context, const uint8_t *data, size_t size, int units, int counts) {
    PyObject *text = ((counting *)context)->text, *decoded;
    if (text == Py_None) {
        if (units) return size % 2 == 0;
        if (!(decoded = PyUnicode_DecodeUTF8((const char *)data, (Py_ssize_t)size, NULL))) return 0;
        Py_DECREF(decoded);
        return 1;
    }
    return taken(PyObject_CallFunction(text, "y#ii", (const char *)data, (Py_ssize_t)size, units, counts));
}

static int call_answer(void *context, unsigned slot, const uint8_t *record, size_t size) {
    PyObject *answer = ((counting *)context)->answer;
    return taken(PyObject_CallFunction(answer, "Iy#", slot, (const char *)record, (Py_ssize_t)size));
}

static void tally_free(counting *c) {
    size_t n;
    for (n = 0; n < c->tally.thread_count; n++)
        free(c->tally.threads[n].open);
    free(c->tally.threads);
    free(c->tally.slots);
    free(c);
}

static void tally_destroy(PyObject *capsule) { tally_free(PyCapsule_GetPointer(capsule, TALLY)); }

static const char tally_doc[] =
    "tally(slots, tick, series, index, limit) -> a count of records, for count and tallied.\n\n"
    "slots: bytes for each method, whether it returns an HRESULT (1) and for each input 0 integer, 1 text, 2 IID, 3 handle\n"
    "series, index, limit: the slot of the method that reports a position and two of its arguments, or -1 each";

static PyObject *tally_new(PyObject *module, PyObject *args) {
    PyObject *slots, *capsule;
    counting *c;
    tally *t;
    long long tick;
    Py_ssize_t n, i;
    (void)module;
    if (!(c = calloc(1, sizeof *c))) return PyErr_NoMemory();
    t = &c->tally;
    if (!PyArg_ParseTuple(args, "O!Liii", &PyTuple_Type, &slots, &tick, &t->series, &t->index, &t->limit)) goto failed;
    if (tick < 1 || tick > 1000000000 || PyTuple_Size(slots) > TALLY_SLOTS) goto wrong;
    t->tick = tick;
    t->slot_count = (unsigned)PyTuple_Size(slots);
    if (!(t->slots = calloc(t->slot_count + 1, sizeof *t->slots))) {
        PyErr_NoMemory();
        goto failed;
    }
    for (n = 0; n < (Py_ssize_t)t->slot_count; n++) {
        char *types;
        Py_ssize_t size;
        if (PyBytes_AsStringAndSize(PyTuple_GetItem(slots, n), &types, &size)) goto failed;
        if (size < 1 || size > 1 + TALLY_ARGUMENTS) goto wrong;
        t->slots[n].hresult = types[0];
        t->slots[n].arguments = (unsigned)(size - 1);
        for (i = 1; i < size; i++) {
            if (types[i] < 0 || types[i] > TALLY_HANDLE) goto wrong;
            t->slots[n].types[i - 1] = (tally_type)types[i];
        }
    }
    t->context = c;
    t->define = call_define;
    t->text = call_text;
    t->answer = call_answer;
    if ((capsule = PyCapsule_New(c, TALLY, tally_destroy))) return capsule;
    goto failed;
wrong:
    PyErr_SetString(PyExc_ValueError, "more than can be counted");
failed:
    tally_free(c);
    return NULL;
}

static const char count_doc[] =
    "count(tally, data, define, text, answer) -> (bytes of whole records, 0 more, 1 a zero, 2 the end record, 3 strange)\n\n"
    "define(record), text(data, is UTF-16, counts), answer(slot, record) look at what is not counted here; false: strange;\n"
    "with None for text, texts are only looked at to see that they are some";

static PyObject *tally_count(PyObject *module, PyObject *args) {
    PyObject *capsule;
    counting *c;
    const char *data;
    Py_ssize_t size;
    size_t used;
    tally_status status;
    PyObject *define, *text, *answer;
    (void)module;
    if (!PyArg_ParseTuple(args, "Oy#OOO", &capsule, &data, &size, &define, &text, &answer)) return NULL;
    if (!(c = PyCapsule_GetPointer(capsule, TALLY))) return NULL;
    c->define = define;
    c->text = text;
    c->answer = answer;
    status = tally_feed(&c->tally, (const uint8_t *)data, (size_t)size, &used);
    return PyErr_Occurred() ? NULL : Py_BuildValue("ni", (Py_ssize_t)used, (int)status);
}

static int append(PyObject *list, PyObject *item) {
    int failed = !item || PyList_Append(list, item);
    Py_XDECREF(item);
    return failed;
}

static const char tallied_doc[] =
    "tallied(tally) -> what was counted, as a dict";

static PyObject *tally_tallied(PyObject *module, PyObject *capsule) {
    counting *c = PyCapsule_GetPointer(capsule, TALLY);
    PyObject *slots = PyList_New(0), *threads = PyList_New(0), *answers = PyList_New(0), *slowest = PyList_New(0);
    PyObject *gaps = PyList_New(0), *runs = PyList_New(0), *used = PyList_New(0), *result = NULL;
    tally *t;
    unsigned n, i;
    (void)module;
    if (!c || !slots || !threads || !answers || !slowest || !gaps || !runs || !used) goto done;
    t = &c->tally;
    tally_finish(t);
    for (n = 0; n < t->slot_count; n++) {
        const tally_slot *s = &t->slots[n];
        PyObject *nulls = PyList_New(0);
        int failed = !nulls;
        for (i = 0; i < s->arguments && !failed; i++)
            failed = append(nulls, PyLong_FromUnsignedLongLong(s->nulls[i]));
        if (failed || append(slots, Py_BuildValue("KO", s->calls, nulls))) {
            Py_XDECREF(nulls);
            goto done;
        }
        Py_DECREF(nulls);
    }
    for (n = 0; n < t->thread_count; n++)
        if (append(threads, PyLong_FromUnsignedLongLong(t->threads[n].calls))) goto done;
    for (n = 0; n < t->answer_count; n++)
        if (append(answers, Py_BuildValue("ILK", t->answers[n].slot, t->answers[n].value, t->answers[n].count))) goto done;
    for (n = 0; n < t->slowest.count; n++)
        if (append(slowest, Py_BuildValue("LK", t->slowest.best[n].value, t->slowest.best[n].number))) goto done;
    for (n = 0; n < t->gaps.count; n++)
        if (append(gaps, Py_BuildValue("LK", t->gaps.best[n].value, t->gaps.best[n].number))) goto done;
    for (n = 0; n < t->longest_count; n++) {
        const tally_run *r = &t->longest[n];
        if (append(runs, Py_BuildValue("KKKLLLLL", r->first, r->last, r->calls, r->start, r->end, r->limit, r->begun,
                                       r->ended)))
            goto done;
    }
    for (n = 1; n < TALLY_TEXTS; n++)
        if (t->used[n] && append(used, PyLong_FromUnsignedLong(n))) goto done;
    result = Py_BuildValue("{s:O,s:O,s:O,s:O,s:O,s:O,s:O,s:K,s:K,s:L,s:L,s:L,s:K,s:K,s:K}", "slots", slots, "threads", threads,
                           "answers", answers, "slowest", slowest, "gaps", gaps, "longest", runs, "used", used, "calls",
                           t->calls, "ended", t->ended, "first", t->first, "end", t->end, "busiest", t->busiest, "most",
                           t->most, "runs", t->runs, "complete", t->complete);
done:
    Py_XDECREF(slots);
    Py_XDECREF(threads);
    Py_XDECREF(answers);
    Py_XDECREF(slowest);
    Py_XDECREF(gaps);
    Py_XDECREF(runs);
    Py_XDECREF(used);
    return result;
}

static PyMethodDef methods[] = {
    {"tally", tally_new, METH_VARARGS, tally_doc},
    {"count", tally_count, METH_VARARGS, count_doc},
    {"tallied", tally_tallied, METH_O, tallied_doc},
    {"record", record, METH_VARARGS, record_doc},
    {"close", close_, METH_O, "close(address): end the trace, give up a reference."},
    {"flush", flush, METH_O, "flush(address): hand what was written to the disk."},
    {"references", references, METH_O, "references(address) -> the count."},
    {"stopped", stopped, METH_O, "stopped(address) -> why recording stopped early, or None."},
    {"set_sync_event", set_sync_event, METH_VARARGS, "set_sync_event(address, handle)"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "core", NULL, 0, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit_core(void) {
    PyObject *module = PyModule_Create(&definition);
    if (module && (PyModule_AddIntConstant(module, "MAX_SLOTS", SYNCTAPE_MAX_SLOTS) ||
                   PyModule_AddIntConstant(module, "MAX_PARAMETERS", SYNCTAPE_MAX_PARAMETERS))) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
