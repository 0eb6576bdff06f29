/*
 * Which networks a file holds, told by names and shapes alone.
 */
#ifndef UPRES_LOADER_RECOGNISE_H
#define UPRES_LOADER_RECOGNISE_H

#include "loader/weights.h"

typedef struct PartList {
    WeightPart *parts; /* their json, summary, missing and unused are owned by the list; prefixes are constants */
    size_t count, room;
} PartList;

/* Adds the file's networks and texts. false: out of memory. The file must outlive the list. */
bool recognise_file(const WeightFile *f, size_t file_index, PartList *list);
void recognise_free(PartList *list);

/*
 * The part of the file that a tensor belongs to: the one with the longest prefix that the name begins with, the file's
 * first network when none fits better; NULL in a file where nothing was recognised.
 */
const WeightPart *recognise_owner(const WeightPart *parts, size_t count, const WeightFile *f, const WeightTensor *t);

/* Is this a scale of a quantized layer, or a mark of such files, rather than a weight? */
bool recognise_is_scale(const char *name);

#endif
