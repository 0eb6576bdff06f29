/*
 * data.pkl of a PyTorch zip file: the tensors of a state dict, found without executing anything.
 *
 * The stack machine of pickle protocol 2 with the few instructions torch.save writes. A call builds one of three
 * records (a dict, a storage, a view); whatever else a pickle may ask for is refused by name.
 */
#ifndef UPRES_LOADER_PICKLE_H
#define UPRES_LOADER_PICKLE_H

#include "loader/contents.h"

/* A view of a storage, as the pickle states it: nothing of it has been compared with the file. */
typedef struct PickleTensor {
    const char *name; /* full, dots between the dicts it lies in; NUL-terminated only when it holds no NUL itself */
    size_t name_length;
    WeightType type;
    const char *key; /* of the storage */
    size_t key_length;
    int64_t stored; /* elements of the storage, or bytes when `untyped` */
    bool untyped;
    int64_t offset; /* elements */
    uint32_t rank;  /* may exceed WEIGHT_MAX_RANK: then shape and stride are cut */
    int64_t shape[WEIGHT_MAX_RANK], stride[WEIGHT_MAX_RANK];
} PickleTensor;

/* Calls `each` for every tensor; it returns false to stop. false: a fault in c. */
bool pickle_read(Contents *c, const uint8_t *pickle, uint64_t size, bool (*each)(void *user, const PickleTensor *t),
                 void *user);

#endif
