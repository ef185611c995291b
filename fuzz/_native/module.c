/* The Python module `fuzz._native.core`, in the limited API of Python 3.11: fuzz/variants.py is its only user. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "variants.h"

#include <stdlib.h>
#include <string.h>

#define KNOWN "synctape.known"

/* --- what variants are made by -------------------------------------------------------------------------------- */

static void forget_known(SynKnown *known) {
    uint32_t slot, n;
    for (slot = 0; slot < known->method_count; slot++) {
        for (n = 0; n < SYN_MOST_ARGUMENTS; n++) {
            free((void *)known->methods[slot].pools[n].values);
            free(known->methods[slot].pools[n].sizes);
        }
    }
    free(known);
}

static void free_known(PyObject *capsule) {
    PyObject *kept = PyCapsule_GetContext(capsule);
    forget_known(PyCapsule_GetPointer(capsule, KNOWN));
    Py_XDECREF(kept);
}

/* The bytes of an object that outlives them. */
static int bytes_of(PyObject *object, const uint8_t **at, size_t *size) {
    char *data;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(object, &data, &length) != 0)
        return -1;
    *at = (const uint8_t *)data;
    *size = (size_t)length;
    return 0;
}

/* (values, how many of them are learned) */
static int read_pool(SynPool *pool, PyObject *given) {
    PyObject *values;
    Py_ssize_t count, n;
    if (!PyArg_ParseTuple(given, "O!I", &PyTuple_Type, &values, &pool->learned))
        return -1;
    count = PyTuple_Size(values);
    if (pool->learned > count) {
        PyErr_SetString(PyExc_ValueError, "more is learned than there is");
        return -1;
    }
    pool->values = malloc(((size_t)count + 1) * sizeof *pool->values);
    pool->sizes = malloc(((size_t)count + 1) * sizeof *pool->sizes);
    if (pool->values == NULL || pool->sizes == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (n = 0; n < count; n++) {
        size_t size;
        if (bytes_of(PyTuple_GetItem(values, n), &pool->values[n], &size) != 0)
            return -1;
        pool->sizes[n] = (uint32_t)size;
    }
    pool->count = (uint32_t)count;
    return 0;
}

/* (types, never NULL, whether it is terminal, whether it is called, one, other, pools) */
static int read_method(SynMethod *method, PyObject *given) {
    PyObject *types, *never_null, *pools;
    int terminal, called, one, other;
    const uint8_t *at;
    size_t size, count, n;
    if (!PyArg_ParseTuple(given, "SSppiiO!", &types, &never_null, &terminal, &called, &one, &other, &PyTuple_Type, &pools) ||
        bytes_of(types, &at, &count) != 0)
        return -1;
    if (count > SYN_MOST_ARGUMENTS || PyTuple_Size(pools) != (Py_ssize_t)count || one >= (int)count || other >= (int)count ||
        (one < 0) != (other < 0)) {
        PyErr_SetString(PyExc_ValueError, "no such method");
        return -1;
    }
    memcpy(method->types, at, count);
    if (bytes_of(never_null, &at, &size) != 0)
        return -1;
    if (size != count) {
        PyErr_SetString(PyExc_ValueError, "no such method");
        return -1;
    }
    memcpy(method->never_null, at, count);
    method->count = (uint8_t)count;
    method->terminal = (uint8_t)terminal;
    method->called = (uint8_t)called;
    method->one = (int8_t)one;
    method->other = (int8_t)other;
    for (n = 0; n < count; n++) {
        if (read_pool(&method->pools[n], PyTuple_GetItem(pools, (Py_ssize_t)n)) != 0)
            return -1;
    }
    return 0;
}

/* A state for each method. */
static int read_states(uint8_t *to, PyObject *given, Py_ssize_t count, Py_ssize_t states) {
    const uint8_t *at;
    size_t size, slot;
    if (bytes_of(given, &at, &size) != 0)
        return -1;
    for (slot = 0; slot < (size_t)count; slot++) {
        if (size != (size_t)count || (at[slot] >= states && at[slot] != SYN_ILLEGAL)) {
            PyErr_SetString(PyExc_ValueError, "no such state");
            return -1;
        }
        to[slot] = at[slot];
    }
    return 0;
}

static PyObject *make_known(PyObject *self, PyObject *args) {
    PyObject *methods, *next, *moves, *capsule;
    unsigned int start;
    int series;
    SynKnown *known;
    Py_ssize_t count, states, n;
    (void)self;
    if (!PyArg_ParseTuple(args, "O!O!O!Ii", &PyTuple_Type, &methods, &PyTuple_Type, &next, &PyTuple_Type, &moves, &start,
                          &series))
        return NULL;
    count = PyTuple_Size(methods);
    states = PyTuple_Size(next);
    if (count > SYN_MOST_METHODS || states > SYN_MOST_STATES || start >= states || series >= count ||
        PyTuple_Size(moves) != states) {
        PyErr_SetString(PyExc_ValueError, "too many methods or states");
        return NULL;
    }
    known = calloc(1, sizeof *known);
    if (known == NULL)
        return PyErr_NoMemory();
    known->method_count = (uint32_t)count;
    known->state_count = (uint32_t)states;
    known->start = start;
    known->series = series;
    for (n = 0; n < count; n++) {
        if (read_method(&known->methods[n], PyTuple_GetItem(methods, n)) != 0)
            goto failed;
    }
    for (n = 0; n < states; n++) {
        if (read_states(known->next[n], PyTuple_GetItem(next, n), count, states) != 0 ||
            read_states(known->moves[n], PyTuple_GetItem(moves, n), count, states) != 0)
            goto failed;
    }
    capsule = PyCapsule_New(known, KNOWN, free_known);
    if (capsule == NULL)
        goto failed;
    Py_INCREF(methods); /* whose bytes are pointed to */
    if (PyCapsule_SetContext(capsule, methods) != 0) {
        Py_DECREF(methods);
        Py_DECREF(capsule);
        return NULL;
    }
    return capsule;
failed:
    forget_known(known);
    return NULL;
}

/* --- variants ------------------------------------------------------------------------------------------------- */

static void free_sources(SynSource *sources, size_t count) {
    size_t n;
    for (n = 0; sources != NULL && n < count; n++)
        free((void *)sources[n].compared);
    free(sources);
}

/* (packed, number, from, until, plain, pairs of what was compared) */
static int read_source(SynSource *source, PyObject *given) {
    PyObject *packed, *pairs;
    unsigned long long number;
    unsigned int from, until;
    SynCompared *compared;
    Py_ssize_t count, n;
    if (!PyArg_ParseTuple(given, "SKIIpO!", &packed, &number, &from, &until, &source->plain, &PyTuple_Type, &pairs) ||
        bytes_of(packed, &source->packed, &source->size) != 0)
        return -1;
    source->number = number;
    source->from = from;
    source->until = until;
    count = PyTuple_Size(pairs);
    compared = calloc((size_t)count + 1, sizeof *compared);
    source->compared = compared;
    if (compared == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (n = 0; n < count; n++) {
        PyObject *one, *other;
        size_t one_size, other_size;
        if (!PyArg_ParseTuple(PyTuple_GetItem(pairs, n), "SS", &one, &other) ||
            bytes_of(one, &compared[n].one, &one_size) != 0 || bytes_of(other, &compared[n].other, &other_size) != 0)
            return -1;
        compared[n].one_size = (uint32_t)one_size;
        compared[n].other_size = (uint32_t)other_size;
    }
    source->compared_count = (uint32_t)count;
    return 0;
}

static PyObject *bytes_from(const void *at, size_t size) {
    return PyBytes_FromStringAndSize(at == NULL ? "" : at, (Py_ssize_t)size);
}

static PyObject *made_of(const SynKnown *known, const SynMade *made) {
    const size_t count = made->count;
    return Py_BuildValue("(nNNNNNNNNN)", (Py_ssize_t)count, bytes_from(made->list, made->size),
                         bytes_from(made->numbers, count * sizeof *made->numbers),
                         bytes_from(made->origins, count * sizeof *made->origins),
                         bytes_from(made->calls, count * sizeof *made->calls), bytes_from(made->ends, count),
                         bytes_from(made->used_count, count), bytes_from(made->used, count * sizeof *made->used),
                         bytes_from(made->slots, made->slot_count * sizeof *made->slots),
                         bytes_from(made->steps, (size_t)known->state_count * known->method_count * sizeof *made->steps));
}

static PyObject *variants(PyObject *self, PyObject *args) {
    PyObject *capsule, *given, *turns, *avoided, *result = NULL;
    SynPacked *packed;
    unsigned long long seed;
    int legal, status = 0;
    SynKnown *known;
    SynSource *sources;
    SynWanted wanted;
    SynMade made;
    Py_ssize_t count, n;
    (void)self;
    if (!PyArg_ParseTuple(args, "OO!KSpO!", &capsule, &PyTuple_Type, &given, &seed, &turns, &legal, &PyTuple_Type, &avoided) ||
        (known = PyCapsule_GetPointer(capsule, KNOWN)) == NULL)
        return NULL;
    memset(&wanted, 0, sizeof wanted);
    if (bytes_of(turns, &wanted.turns, &wanted.turn_count) != 0)
        return NULL;
    count = PyTuple_Size(given);
    wanted.avoided_count = (size_t)PyTuple_Size(avoided);
    sources = calloc((size_t)count + 1, sizeof *sources);
    packed = calloc(wanted.avoided_count + 1, sizeof *packed);
    if (sources == NULL || packed == NULL) {
        free(sources);
        free(packed);
        return PyErr_NoMemory();
    }
    for (n = 0; n < (Py_ssize_t)wanted.avoided_count && status == 0; n++)
        status = bytes_of(PyTuple_GetItem(avoided, n), &packed[n].at, &packed[n].size);
    wanted.avoided = packed;
    for (n = 0; n < count && status == 0; n++)
        status = read_source(&sources[n], PyTuple_GetItem(given, n));
    if (status == 0) {
        wanted.sources = sources;
        wanted.source_count = (size_t)count;
        wanted.seed = seed;
        wanted.legal = legal;
        Py_BEGIN_ALLOW_THREADS
        status = syn_variants(known, &wanted, &made);
        Py_END_ALLOW_THREADS
        if (status == 0)
            result = made_of(known, &made);
        else if (status == -1)
            PyErr_NoMemory();
        else
            PyErr_SetString(PyExc_ValueError, "a sequence is not packed as it should be");
        syn_made_free(&made);
    }
    free_sources(sources, (size_t)count);
    free(packed);
    return result;
}

/* --- module ----------------------------------------------------------------------------------------------------- */

static PyMethodDef methods[] = {
    {"known", make_known, METH_VARARGS,
     "known(methods, next, moves, start, series): what variants are made by (variants.h); of each method (types, never\n"
     "NULL, terminal, called, one, other, pools), of each state the next one for each method"},
    {"variants", variants, METH_VARARGS,
     "variants(known, sources, seed, turns, legal, avoided): of sources (packed, number, from, until, plain, pairs); gives\n"
     "(count, list, numbers, origins, calls, ends, used_count, used, slots, steps)"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "core", NULL, 0, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit_core(void) {
    return PyModule_Create(&definition);
}
