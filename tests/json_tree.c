/*
 * JSON as a tree, for reading test cases (trusted text). Numbers stay as written until they are asked for, so that
 * seeds keep all their 64 bits.
 */
#include "tests/json_tree.h"

#include "loader/json.h"

#include <stdlib.h>
#include <string.h>

static char *copy_text(const char *text, size_t length)
{
    char *copy = malloc(length + 1);
    if (copy) {
        memcpy(copy, text, length);
        copy[length] = 0;
    }
    return copy;
}

void json_tree_free(JsonTree *t)
{
    while (t) {
        JsonTree *next = t->next;
        json_tree_free(t->child);
        free(t->text);
        free(t->key);
        free(t);
        t = next;
    }
}

static JsonTree *parse_value(JsonReader *r, JsonToken token);

/* Elements or members up to `end`, appended to `parent`. */
static bool parse_children(JsonReader *r, JsonTree *parent, JsonToken end)
{
    JsonTree **link = &parent->child;
    for (;;) {
        JsonToken token = json_next(r);
        if (token == end) return true;
        char *key = NULL;
        if (parent->kind == JSON_K_OBJECT) {
            if (token != JSON_KEY) return false;
            key = copy_text(r->string, r->length);
            if (!key) return false;
            token = json_next(r);
        }
        *link = parse_value(r, token);
        if (!*link) {
            free(key);
            return false;
        }
        (*link)->key = key;
        link = &(*link)->next;
    }
}

static JsonTree *parse_value(JsonReader *r, JsonToken token)
{
    JsonTree *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    bool fine = true;
    switch (token) {
    case JSON_OBJECT:
        t->kind = JSON_K_OBJECT;
        fine = parse_children(r, t, JSON_OBJECT_END);
        break;
    case JSON_ARRAY:
        t->kind = JSON_K_ARRAY;
        fine = parse_children(r, t, JSON_ARRAY_END);
        break;
    case JSON_STRING:
    case JSON_NUMBER:
        t->kind = token == JSON_STRING ? JSON_K_STRING : JSON_K_NUMBER;
        t->text = copy_text(r->string, r->length);
        fine = t->text != NULL;
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        t->kind = JSON_K_BOOL;
        t->truth = token == JSON_TRUE;
        break;
    case JSON_NULL:
        t->kind = JSON_K_NULL;
        break;
    default:
        fine = false;
        break;
    }
    if (!fine) {
        json_tree_free(t);
        return NULL;
    }
    return t;
}

JsonTree *json_tree_parse(const char *text, size_t size)
{
    JsonReader r;
    json_open(&r, text, size, 64);
    JsonTree *t = parse_value(&r, json_next(&r));
    if (t && json_next(&r) != JSON_END) {
        json_tree_free(t);
        t = NULL;
    }
    json_close(&r);
    return t;
}

const JsonTree *json_get(const JsonTree *object, const char *key)
{
    if (!object || object->kind != JSON_K_OBJECT) return NULL;
    for (const JsonTree *t = object->child; t; t = t->next)
        if (!strcmp(t->key, key)) return t;
    return NULL;
}

const JsonTree *json_at(const JsonTree *array, int index)
{
    const JsonTree *t = array && array->kind == JSON_K_ARRAY ? array->child : NULL;
    while (t && index-- > 0) t = t->next;
    return t;
}

int json_count(const JsonTree *t)
{
    int n = 0;
    for (const JsonTree *c = t ? t->child : NULL; c; c = c->next) n++;
    return n;
}

double json_number(const JsonTree *t, double otherwise)
{
    return t && t->kind == JSON_K_NUMBER ? strtod(t->text, NULL) : otherwise;
}

int64_t json_int(const JsonTree *t, int64_t otherwise)
{
    if (!t || t->kind != JSON_K_NUMBER) return otherwise;
    if (strpbrk(t->text, ".eE")) return (int64_t)strtod(t->text, NULL);
    if (t->text[0] == '-') return (int64_t)strtoll(t->text, NULL, 10);
    return (int64_t)strtoull(t->text, NULL, 10);
}

const char *json_string(const JsonTree *t, const char *otherwise)
{
    return t && t->kind == JSON_K_STRING ? t->text : otherwise;
}

bool json_bool(const JsonTree *t, bool otherwise)
{
    return t && t->kind == JSON_K_BOOL ? t->truth : otherwise;
}
