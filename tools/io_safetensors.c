#include "tools/io_safetensors.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "safetensors holds little-endian values, and this file writes them as they lie in memory"
#endif

/* ---------------------------------------------------------------------------------------------------------- reading */

/* Metadata `frames`, a decimal number in a JSON string. */
static int64_t true_frames(const upres_weights *w, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *key, *value;
        if (upres_weights_metadata(w, 0, i, &key, &value) != UPRES_OK || strcmp(key, "frames") != 0) continue;
        long long n = strtoll(value + (*value == '"'), NULL, 10);
        return n > 0 ? n : 0;
    }
    return 0;
}

bool tensor_source_open(TensorSource *s, const char *path, const char *name, Problem *p)
{
    *s = (TensorSource){.path = path, .name = name};
    upres_status status = upres_weights_open(&s->file, &path, 1);
    if (status != UPRES_OK) return problem_library(p, status);
    upres_file_info info = {.struct_size = sizeof info};
    upres_tensor_info t = {.struct_size = sizeof t};
    status = upres_weights_file(s->file, 0, &info);
    if (status != UPRES_OK) return problem_library(p, status);
    for (s->index = 0; s->index < info.tensor_count; s->index++) {
        status = upres_weights_tensor(s->file, 0, s->index, &t);
        if (status != UPRES_OK) return problem_library(p, status);
        if (strcmp(t.name, name) == 0) break;
    }
    if (s->index == info.tensor_count)
        return problem(p, EXIT_INPUT, "%s: holds no tensor `%s`; expected one of shape [C, T, H, W]", path, name);
    s->shape = (TensorShape){t.shape[0], t.shape[1], t.shape[2], t.shape[3]};
    bool sound = t.rank == 4;
    for (int i = 0; i < 4 && sound; i++) sound = t.shape[i] >= 1 && (i == 1 || t.shape[i] <= 16384);
    if (!sound) {
        char shape[160] = "";
        for (int i = 0; i < t.rank; i++) {
            const size_t at = strlen(shape);
            snprintf(shape + at, sizeof shape - at, "%s%" PRId64, i > 0 ? ", " : "", t.shape[i]);
        }
        return problem(p, EXIT_INPUT, "%s: tensor `%s` has shape [%s], expected [C, T, H, W] of a clip", path, name, shape);
    }
    s->true_frames = true_frames(s->file, info.metadata_count);
    return true;
}

bool tensor_source_read(const TensorSource *s, const upres_region *r, Problem *p)
{
    const TensorShape *n = &s->shape;
    for (int32_t c = 0; c < r->channels; c++) {
        for (int32_t y = 0; y < r->height; y++) {
            int64_t first = ((c * n->frames + r->frame) * n->height + r->y + y) * n->width + r->x;
            float *row = r->data + c * r->plane_stride + y * r->row_stride;
            upres_status status = upres_weights_read(s->file, 0, s->index, (uint64_t)first, (uint64_t)r->width, row);
            if (status != UPRES_OK) return problem_library(p, status);
            for (int32_t x = 0; x < r->width; x++)
                if (!isfinite(row[x]))
                    return problem(p, EXIT_INPUT, "%s: tensor `%s` holds a value that is not finite, in frame %" PRId64
                                   " at (%d, %d) of channel %d; make the file again", s->path, s->name, r->frame, r->x + x,
                                   r->y + y, c);
        }
    }
    return true;
}

void tensor_source_close(TensorSource *s)
{
    upres_weights_close(s->file);
    s->file = NULL;
}

/* ---------------------------------------------------------------------------------------------------------- writing */

bool tensor_store_create(TensorStore *s, const char *path, const char *name, TensorShape shape,
                         int64_t true_frame_count, Problem *p)
{
    uint64_t plane = (uint64_t)(shape.height * shape.width);
    *s = (TensorStore){.shape = shape, .frame_step = plane, .channel_step = plane * (uint64_t)shape.frames};
    char note[64] = "";
    if (true_frame_count > 0)
        snprintf(note, sizeof note, "\"__metadata__\":{\"frames\":\"%" PRId64 "\"},", true_frame_count);
    char *json = new_text("{%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64
                          "],\"data_offsets\":[0,%" PRIu64 "]}}",
                          note, name, shape.channels, shape.frames, shape.height, shape.width,
                          4 * s->channel_step * (uint64_t)shape.channels);
    /* the header is padded with spaces so that the values begin on a multiple of 8 */
    uint64_t length = (strlen(json) + 7) / 8 * 8;
    char *head = new_text("12345678%-*s", (int)length, json);
    for (int i = 0; i < 8; i++) head[i] = (char)(length >> 8 * i);
    s->start = 8 + length;
    bool fine = writefile_create(&s->file, path, p) && writefile_put(&s->file, 0, head, 8 + length, p);
    free(head);
    free(json);
    return fine;
}

bool tensor_store_scratch(TensorStore *s, const char *folder, TensorShape shape, Problem *p)
{
    uint64_t plane = (uint64_t)(shape.height * shape.width);
    *s = (TensorStore){.shape = shape, .channel_step = plane, .frame_step = plane * (uint64_t)shape.channels};
    return writefile_scratch(&s->file, folder, p);
}

static bool add_to_file(TensorStore *s, uint64_t at, const float *values, size_t count, Problem *p)
{
    float *sum = need_memory(count * sizeof *sum);
    bool fine = writefile_get(&s->file, at, sum, count * sizeof *sum, p);
    for (size_t i = 0; i < count; i++) sum[i] += values[i];
    fine = fine && writefile_put(&s->file, at, sum, count * sizeof *sum, p);
    free(sum);
    return fine;
}

bool tensor_store_write(TensorStore *s, const upres_region *r, bool add, Problem *p)
{
    /* whole rows without gaps are one piece */
    bool joined = r->width == s->shape.width && r->row_stride == r->width;
    int32_t rows = joined ? r->height : 1;
    size_t count = (size_t)rows * (size_t)r->width;
    for (int32_t c = 0; c < r->channels; c++) {
        for (int32_t y = 0; y < r->height; y += rows) {
            uint64_t sample = (uint64_t)c * s->channel_step + (uint64_t)r->frame * s->frame_step +
                              (uint64_t)((r->y + y) * s->shape.width + r->x);
            const float *values = r->data + c * r->plane_stride + y * r->row_stride;
            uint64_t at = s->start + 4 * sample;
            if (add ? !add_to_file(s, at, values, count, p) : !writefile_put(&s->file, at, values, 4 * count, p))
                return false;
        }
    }
    return true;
}

bool tensor_store_frame(TensorStore *s, int64_t frame, float *out, Problem *p)
{
    return writefile_get(&s->file, s->start + 4 * s->frame_step * (uint64_t)frame, out, 4 * s->frame_step, p);
}
