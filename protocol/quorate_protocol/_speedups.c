/* What a busy server does for each edit that comes in, compiled: the same as `bursts_in_python.py`, which is the reference,
 * is used where this is not there, and is compared with it by tests over mutated inputs.
 *
 * Every byte is read through a bound: a Reader never passes its end, and once a read fails it stays failed.
 * What is rare here is not decided here but left to the reference, by returning NotImplemented.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

/* WebSocket frames: RFC 6455 section 5.2 */

enum { PLAIN = 0x82, MASKED = 0x80, TWO_BYTES_MORE = 0x80 | 126, SHORT_HEAD = 6, LONG_HEAD = 8, KEY_BYTES = 4 };

static void unmask(uint8_t *to, const uint8_t *from, Py_ssize_t size, const uint8_t *key)
{
    uint64_t wide;
    uint8_t twice[8];
    Py_ssize_t i = 0;
    memcpy(twice, key, 4);
    memcpy(twice + 4, key, 4);
    memcpy(&wide, twice, 8);
    for (; i + 8 <= size; i += 8) {
        uint64_t word;
        memcpy(&word, from + i, 8);
        word ^= wide;
        memcpy(to + i, &word, 8);
    }
    for (; i < size; i++)
        to[i] = from[i] ^ key[i & 3];
}

static PyObject *read_plain_frames(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 2 || !PyBytes_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "read_plain_frames(data: bytes, max_bytes: int)");
        return NULL;
    }
    int overflow;
    long long max_bytes = PyLong_AsLongLongAndOverflow(args[1], &overflow);
    if (max_bytes == -1 && PyErr_Occurred())
        return NULL;
    if (overflow > 0)
        max_bytes = INT64_MAX;
    const uint8_t *data = (const uint8_t *)PyBytes_AS_STRING(args[0]);
    Py_ssize_t size = PyBytes_GET_SIZE(args[0]), start = 0;
    PyObject *messages = PyList_New(0);
    if (messages == NULL)
        return NULL;
    while (size - start >= SHORT_HEAD && data[start] == PLAIN) {
        Py_ssize_t length = data[start + 1], head = SHORT_HEAD;
        if (length == TWO_BYTES_MORE) {
            if (size - start < LONG_HEAD)
                break;
            length = data[start + 2] << 8 | data[start + 3];
            head = LONG_HEAD;
        }
        else if (length < MASKED || length > TWO_BYTES_MORE)
            break;
        else
            length -= MASKED;
        if (length > max_bytes || length > size - start - head)
            break;
        PyObject *message = PyBytes_FromStringAndSize(NULL, length);
        if (message == NULL || PyList_Append(messages, message) < 0) {
            Py_XDECREF(message);
            Py_DECREF(messages);
            return NULL;
        }
        unmask((uint8_t *)PyBytes_AS_STRING(message), data + start + head, length, data + start + head - KEY_BYTES);
        Py_DECREF(message);
        start += head + length;
    }
    return Py_BuildValue("(Nn)", messages, start);
}

/* The variable-length numbers of lib0 */

#define MAX_SAFE_INTEGER ((UINT64_C(1) << 53) - 1)
#define MAX_VARINT_BYTES 8

typedef struct {
    const uint8_t *at;
    const uint8_t *end;
    int failed;
} Reader;

static uint64_t read_var_uint(Reader *reader)
{
    uint64_t value = 0;
    for (int i = 0; i < MAX_VARINT_BYTES && reader->at < reader->end; i++) {
        uint8_t byte = *reader->at++;
        value |= (uint64_t)(byte & 0x7F) << (7 * i);
        if (byte < 0x80) {
            if (value > MAX_SAFE_INTEGER)
                break;
            return value;
        }
    }
    reader->failed = 1;
    return 0;
}

/* Messages that are one edit each */

static PyObject *read_updates(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 4 || !PyBytes_Check(args[0]) || !PyList_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "read_updates(prefix: bytes, messages: list, start: int, max_bytes: int)");
        return NULL;
    }
    Py_ssize_t start = PyLong_AsSsize_t(args[2]), max_bytes = PyLong_AsSsize_t(args[3]);
    if ((start == -1 || max_bytes == -1) && PyErr_Occurred())
        return NULL;
    const char *prefix = PyBytes_AS_STRING(args[0]);
    Py_ssize_t prefix_size = PyBytes_GET_SIZE(args[0]);
    PyObject *updates = PyList_New(0);
    if (updates == NULL)
        return NULL;
    for (Py_ssize_t i = start < 0 ? 0 : start; i < PyList_GET_SIZE(args[1]); i++) {
        PyObject *message = PyList_GET_ITEM(args[1], i);
        if (!PyBytes_Check(message))
            break;
        const char *data = PyBytes_AS_STRING(message);
        Py_ssize_t size = PyBytes_GET_SIZE(message);
        if (size <= prefix_size || size > max_bytes || memcmp(data, prefix, (size_t)prefix_size) != 0)
            break;
        Reader reader = {(const uint8_t *)data + prefix_size, (const uint8_t *)data + size, 0};
        uint64_t length = read_var_uint(&reader);
        if (reader.failed || length != (uint64_t)(reader.end - reader.at))
            break;
        PyObject *update = PyBytes_FromStringAndSize((const char *)reader.at, (Py_ssize_t)length);
        if (update == NULL || PyList_Append(updates, update) < 0) {
            Py_XDECREF(update);
            Py_DECREF(updates);
            return NULL;
        }
        Py_DECREF(update);
    }
    return updates;
}

/* How far updates reach: the grammar is in `updates.py` */

#define MAX_CLOCK UINT64_C(0xFFFFFFFF)
#define MAX_CLIENTS 16

enum { GC = 0, SKIP = 10, KIND_BITS = 0x1F, HAS_KEY = 0x20, HAS_RIGHT_ORIGIN = 0x40, HAS_ORIGIN = 0x80 };
enum { DELETED = 1, JSON = 2, BINARY = 3, STRING = 4, EMBED = 5, FORMAT = 6 };

typedef struct {
    uint64_t client;
    uint64_t known; /* in the document, and in the updates before */
    uint64_t end;   /* in this update */
    uint64_t ends;  /* in all updates */
} Client;

typedef struct {
    Client clients[MAX_CLIENTS];
    int count;
    PyObject *state_vector;
    PyObject *error; /* a new reference to what is to be returned instead, or NULL */
    int raised;
} Burst;

enum Verdict { FINE, NOT_FINE, UNDECIDED, RAISED };

static enum Verdict find_client(Burst *burst, uint64_t number, Client **found)
{
    for (int i = 0; i < burst->count; i++) {
        if (burst->clients[i].client == number) {
            *found = &burst->clients[i];
            return FINE;
        }
    }
    if (burst->count == MAX_CLIENTS)
        return UNDECIDED;
    PyObject *key = PyLong_FromUnsignedLongLong(number);
    if (key == NULL)
        return RAISED;
    PyObject *known = PyDict_GetItemWithError(burst->state_vector, key);
    Py_DECREF(key);
    Client client = {number, 0, 0, 0};
    if (known != NULL) {
        client.known = PyLong_AsUnsignedLongLong(known);
        if (client.known == (uint64_t)-1 && PyErr_Occurred())
            return RAISED;
    }
    else if (PyErr_Occurred())
        return RAISED;
    burst->clients[burst->count] = client;
    *found = &burst->clients[burst->count++];
    return FINE;
}

/* Skip a string; `length` is set to how many UTF-16 code units it has. */
static enum Verdict skip_string(Reader *reader, uint64_t *length)
{
    uint64_t size = read_var_uint(reader);
    if (reader->failed || size > (uint64_t)(reader->end - reader->at))
        return NOT_FINE;
    const uint8_t *at = reader->at, *end = at + size;
    reader->at = end;
    *length = size;
    while (at < end && *at < 0x80)
        at++;
    if (at == end)
        return FINE;
    PyObject *text = PyUnicode_DecodeUTF8((const char *)end - size, (Py_ssize_t)size, NULL);
    if (text == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_UnicodeDecodeError))
            return RAISED;
        PyErr_Clear();
        return NOT_FINE;
    }
    Py_ssize_t characters = PyUnicode_GET_LENGTH(text);
    *length = (uint64_t)characters;
    if (PyUnicode_MAX_CHAR_VALUE(text) > 0xFFFF) {
        for (Py_ssize_t i = 0; i < characters; i++)
            *length += PyUnicode_READ_CHAR(text, i) > 0xFFFF;
    }
    Py_DECREF(text);
    return FINE;
}

static enum Verdict skip_content(Reader *reader, int kind, uint64_t *length)
{
    enum Verdict verdict;
    uint64_t unused, count;
    switch (kind) {
    case STRING:
        return skip_string(reader, length);
    case DELETED:
        *length = read_var_uint(reader);
        return reader->failed ? NOT_FINE : FINE;
    case JSON:
        *length = count = read_var_uint(reader);
        if (reader->failed)
            return NOT_FINE;
        for (; count > 0; count--) { /* each takes at least a byte, so the end of the data bounds this loop */
            if ((verdict = skip_string(reader, &unused)) != FINE)
                return verdict;
        }
        return FINE;
    case BINARY:
        *length = 1;
        count = read_var_uint(reader);
        if (reader->failed || count > (uint64_t)(reader->end - reader->at))
            return NOT_FINE;
        reader->at += count;
        return FINE;
    case FORMAT:
        if ((verdict = skip_string(reader, &unused)) != FINE)
            return verdict;
        /* fall through */
    case EMBED:
        *length = 1;
        return skip_string(reader, &unused);
    default:
        return UNDECIDED; /* values that nest, and types */
    }
}

/* Read the id of an operation that must be known: of `own` before `clock`, or in the document. */
static enum Verdict read_known_id(Burst *burst, Reader *reader, uint64_t own, uint64_t clock)
{
    uint64_t client = read_var_uint(reader), at = reader->failed ? 0 : read_var_uint(reader);
    if (reader->failed)
        return NOT_FINE;
    if (client == own && at < clock)
        return FINE;
    Client *found;
    enum Verdict verdict = find_client(burst, client, &found);
    if (verdict != FINE)
        return verdict;
    return at < found->known ? FINE : NOT_FINE;
}

static enum Verdict read_references(Burst *burst, Reader *reader, int info, uint64_t own, uint64_t clock)
{
    enum Verdict verdict;
    uint64_t unused;
    if (info & HAS_ORIGIN) {
        if ((verdict = read_known_id(burst, reader, own, clock)) != FINE)
            return verdict;
    }
    if (info & HAS_RIGHT_ORIGIN) {
        if ((verdict = read_known_id(burst, reader, own, clock)) != FINE)
            return verdict;
    }
    if (info & (HAS_ORIGIN | HAS_RIGHT_ORIGIN))
        return FINE;
    uint64_t is_root = read_var_uint(reader);
    if (reader->failed)
        return NOT_FINE;
    verdict = is_root == 1 ? skip_string(reader, &unused) : read_known_id(burst, reader, own, clock);
    if (verdict == FINE && info & HAS_KEY)
        verdict = skip_string(reader, &unused);
    return verdict;
}

static enum Verdict read_run(Burst *burst, Reader *reader, uint64_t seen[], int number)
{
    uint64_t structs = read_var_uint(reader);
    uint64_t client = reader->failed ? 0 : read_var_uint(reader);
    uint64_t clock = reader->failed ? 0 : read_var_uint(reader);
    if (reader->failed)
        return NOT_FINE;
    for (int i = 0; i < number; i++) {
        if (seen[i] == client)
            return NOT_FINE;
    }
    seen[number] = client;
    Client *own;
    enum Verdict verdict = find_client(burst, client, &own);
    if (verdict != FINE)
        return verdict;
    if (clock > own->known)
        return NOT_FINE;
    for (; structs > 0; structs--) {
        if (reader->at >= reader->end)
            return NOT_FINE;
        int info = *reader->at++;
        uint64_t length;
        if (info == SKIP)
            return UNDECIDED;
        if (info == GC)
            length = read_var_uint(reader);
        else {
            if ((verdict = read_references(burst, reader, info, client, clock)) != FINE)
                return verdict;
            if ((verdict = skip_content(reader, info & KIND_BITS, &length)) != FINE)
                return verdict;
        }
        clock += length;
        if (reader->failed || clock > MAX_CLOCK)
            return NOT_FINE;
        if (length)
            own->end = clock;
    }
    return FINE;
}

static enum Verdict read_deletes(Burst *burst, Reader *reader)
{
    uint64_t clients = read_var_uint(reader);
    for (; !reader->failed && clients > 0; clients--) {
        uint64_t client = read_var_uint(reader), ranges = reader->failed ? 0 : read_var_uint(reader);
        if (reader->failed)
            return NOT_FINE;
        Client *found;
        enum Verdict verdict = find_client(burst, client, &found);
        if (verdict != FINE)
            return verdict;
        for (; ranges > 0; ranges--) {
            uint64_t clock = read_var_uint(reader), length = reader->failed ? 0 : read_var_uint(reader);
            if (reader->failed || clock + length > MAX_CLOCK)
                return NOT_FINE;
            if (length && clock + length > found->known && clock + length > found->end)
                return NOT_FINE;
        }
    }
    return reader->failed || reader->at != reader->end ? NOT_FINE : FINE;
}

static enum Verdict read_update(Burst *burst, PyObject *update)
{
    const uint8_t *data = (const uint8_t *)PyBytes_AS_STRING(update);
    Reader reader = {data, data + PyBytes_GET_SIZE(update), 0};
    uint64_t seen[MAX_CLIENTS], clients = read_var_uint(&reader);
    enum Verdict verdict;
    if (reader.failed)
        return NOT_FINE;
    if (clients > MAX_CLIENTS)
        return UNDECIDED;
    for (int i = 0; i < burst->count; i++)
        burst->clients[i].end = 0;
    for (int i = 0; i < (int)clients; i++) {
        if ((verdict = read_run(burst, &reader, seen, i)) != FINE)
            return verdict;
    }
    if ((verdict = read_deletes(burst, &reader)) != FINE)
        return verdict;
    for (int i = 0; i < burst->count; i++) {
        Client *client = &burst->clients[i];
        if (client->end > client->known)
            client->known = client->ends = client->end;
    }
    return FINE;
}

static PyObject *ends_of(const Burst *burst)
{
    PyObject *ends = PyDict_New();
    for (int i = 0; ends != NULL && i < burst->count; i++) {
        if (!burst->clients[i].ends)
            continue;
        PyObject *client = PyLong_FromUnsignedLongLong(burst->clients[i].client);
        PyObject *end = PyLong_FromUnsignedLongLong(burst->clients[i].ends);
        if (client == NULL || end == NULL || PyDict_SetItem(ends, client, end) < 0)
            Py_CLEAR(ends);
        Py_XDECREF(client);
        Py_XDECREF(end);
    }
    return ends;
}

static PyObject *measure_burst(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 2 || !PyList_Check(args[0]) || !PyDict_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "measure_burst(updates: list, state_vector: dict)");
        return NULL;
    }
    Burst burst = {.state_vector = args[1]};
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(args[0]); i++) {
        PyObject *update = PyList_GET_ITEM(args[0], i);
        if (!PyBytes_Check(update)) {
            PyErr_SetString(PyExc_TypeError, "an update is bytes");
            return NULL;
        }
        switch (read_update(&burst, update)) {
        case FINE:
            break;
        case NOT_FINE:
            Py_RETURN_NONE;
        case UNDECIDED:
            Py_RETURN_NOTIMPLEMENTED;
        case RAISED:
            return NULL;
        }
    }
    return ends_of(&burst);
}

/* Typing: updates that are one text each and go on where the one before ended */

#define ONE 1

typedef struct {
    uint64_t client, clock, units; /* what it inserts: so many UTF-16 code units from there */
    uint64_t origin_client, origin_clock;
    int info;
    const uint8_t *right, *size, *text; /* where its right origin, the length of its text and its text begin */
    const uint8_t *end;
} Typed;

static enum Verdict read_typed(PyObject *update, Typed *typed)
{
    const uint8_t *data = (const uint8_t *)PyBytes_AS_STRING(update);
    Reader reader = {data, data + PyBytes_GET_SIZE(update), 0};
    uint64_t clients = read_var_uint(&reader), structs = reader.failed ? 0 : read_var_uint(&reader);
    if (clients != ONE || structs != ONE)
        return NOT_FINE;
    typed->client = read_var_uint(&reader);
    typed->clock = reader.failed ? 0 : read_var_uint(&reader);
    if (reader.failed || reader.at >= reader.end)
        return NOT_FINE;
    typed->info = *reader.at++;
    int references = typed->info & (HAS_ORIGIN | HAS_RIGHT_ORIGIN);
    if (typed->info != (references | STRING) || references == 0)
        return NOT_FINE;
    if (references & HAS_ORIGIN) {
        typed->origin_client = read_var_uint(&reader);
        typed->origin_clock = reader.failed ? 0 : read_var_uint(&reader);
    }
    typed->right = reader.at;
    if (!reader.failed && references & HAS_RIGHT_ORIGIN) {
        read_var_uint(&reader);
        if (!reader.failed)
            read_var_uint(&reader);
    }
    typed->size = reader.at;
    if (reader.failed)
        return NOT_FINE;
    Reader string = reader;
    uint64_t size = read_var_uint(&string);
    typed->text = string.at;
    enum Verdict verdict = skip_string(&reader, &typed->units);
    if (verdict != FINE)
        return verdict;
    typed->end = reader.at;
    if (size == 0 || reader.end - reader.at != 1 || *reader.at != 0) /* the deletes: none */
        return NOT_FINE;
    return typed->clock + typed->units > MAX_CLOCK ? NOT_FINE : FINE;
}

static int goes_on(const Typed *before, const Typed *typed)
{
    Py_ssize_t right = before->size - before->right;
    return typed->client == before->client && typed->clock == before->clock + before->units
        && typed->info == (before->info | HAS_ORIGIN) && typed->origin_client == typed->client
        && typed->origin_clock == typed->clock - 1 && typed->size - typed->right == right
        && memcmp(typed->right, before->right, (size_t)right) == 0;
}

static Py_ssize_t write_var_uint(uint8_t *to, uint64_t value)
{
    Py_ssize_t size = 0;
    for (; value >= 0x80; value >>= 7)
        to[size++] = (uint8_t)(value & 0x7F) | 0x80;
    to[size++] = (uint8_t)value;
    return size;
}

static PyObject *join_typing(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 1 || !PyList_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "join_typing(updates: list)");
        return NULL;
    }
    Py_ssize_t updates = PyList_GET_SIZE(args[0]);
    Typed first = {0}, before = {0};
    uint64_t size = 0;
    for (Py_ssize_t i = 0; i < updates; i++) {
        PyObject *update = PyList_GET_ITEM(args[0], i);
        if (!PyBytes_Check(update)) {
            PyErr_SetString(PyExc_TypeError, "an update is bytes");
            return NULL;
        }
        Typed typed = {0};
        enum Verdict verdict = read_typed(update, &typed);
        if (verdict == RAISED)
            return NULL;
        if (verdict != FINE || (i > 0 && !goes_on(&before, &typed)))
            Py_RETURN_NONE;
        if (i == 0)
            first = typed;
        size += (uint64_t)(typed.end - typed.text);
        before = typed;
    }
    if (updates == 0)
        Py_RETURN_NONE;
    if (updates == 1)
        return Py_BuildValue("(KKO)", first.client, first.clock, PyList_GET_ITEM(args[0], 0));
    const uint8_t *data = (const uint8_t *)PyBytes_AS_STRING(PyList_GET_ITEM(args[0], 0));
    uint8_t length[10];
    Py_ssize_t head = first.size - data, more = write_var_uint(length, size);
    PyObject *joined = PyBytes_FromStringAndSize(NULL, head + more + (Py_ssize_t)size + 1);
    if (joined == NULL)
        return NULL;
    uint8_t *to = (uint8_t *)PyBytes_AS_STRING(joined);
    memcpy(to, data, (size_t)head);
    memcpy(to + head, length, (size_t)more);
    to += head + more;
    for (Py_ssize_t i = 0; i < updates; i++) { /* the texts stand before the last byte of each */
        Typed typed = {0};
        read_typed(PyList_GET_ITEM(args[0], i), &typed);
        memcpy(to, typed.text, (size_t)(typed.end - typed.text));
        to += typed.end - typed.text;
    }
    *to = 0;
    return Py_BuildValue("(KKN)", first.client, first.clock, joined);
}

static PyMethodDef methods[] = {
    {"read_plain_frames", (PyCFunction)(void (*)(void))read_plain_frames, METH_FASTCALL, NULL},
    {"read_updates", (PyCFunction)(void (*)(void))read_updates, METH_FASTCALL, NULL},
    {"join_typing", (PyCFunction)(void (*)(void))join_typing, METH_FASTCALL, NULL},
    {"measure_burst", (PyCFunction)(void (*)(void))measure_burst, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "quorate_protocol._speedups",
    .m_size = 0,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__speedups(void)
{
    return PyModuleDef_Init(&definition);
}
