/*
 * JSON as a tree, for reading test cases (trusted text). Built on loader/json.h.
 */
#ifndef UPRES_TESTS_JSON_TREE_H
#define UPRES_TESTS_JSON_TREE_H

#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>

typedef enum JsonKind { JSON_K_NULL, JSON_K_BOOL, JSON_K_NUMBER, JSON_K_STRING, JSON_K_ARRAY, JSON_K_OBJECT } JsonKind;

typedef struct JsonTree {
    JsonKind kind;
    bool truth;
    char *text;              /* a string's value, or a number as written */
    char *key;               /* within an object */
    struct JsonTree *child;  /* first element or member */
    struct JsonTree *next;   /* sibling */
} JsonTree;

JsonTree *json_tree_parse(const char *text, size_t size); /* NULL on a fault; json_tree_free frees everything */
void json_tree_free(JsonTree *t);
const JsonTree *json_get(const JsonTree *object, const char *key); /* NULL when absent (also on NULL) */
const JsonTree *json_at(const JsonTree *array, int index);
int json_count(const JsonTree *t);
double json_number(const JsonTree *t, double otherwise); /* otherwise: when t is NULL or null */
int64_t json_int(const JsonTree *t, int64_t otherwise);  /* all 64 bits; seeds above 2^63 wrap as uint64 */
const char *json_string(const JsonTree *t, const char *otherwise);
bool json_bool(const JsonTree *t, bool otherwise);

#endif
