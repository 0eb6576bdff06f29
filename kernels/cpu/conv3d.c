#include "kernels/cpu/conv3d.h"

static TimeTaps repetition(const Conv3d *c, int image)
{
    if (c->kt == 1) return TIME_ALL;
    for (int dt = 1; dt < c->kt; dt++) {
        if (c->frame[image][dt] != c->frame[image][0]) return dt == 2 && c->kt == 3 ? TIME_PAIR : TIME_ALL;
    }
    return TIME_ONE;
}

static void add_image(const Conv3d *c, const GemmJob *out, int image, TimeTaps time, GemmJob *j)
{
    const int i = j->images++;
    GemmPart *main = &j->part[0];
    const int merged = time == TIME_ALL ? 0 : time == TIME_PAIR ? 1 : c->kt - 1;
    int tap = 0;
    for (int dt = merged; dt < c->kt; dt++) {
        for (int dy = 0; dy < c->kh; dy++) {
            for (int dx = 0; dx < c->kw; dx++) {
                main->tap[i][tap++] = (c->frame[image][dt] - main->base) + dy * c->in_row + dx * c->in_pixel;
            }
        }
    }
    if (j->parts > 1) j->part[1].tap[i][0] = c->shortcut_frame[image] - j->part[1].base;
    j->y_image[i] = out->y_image[image];
    j->residual_image[i] = out->residual_image[image];
    j->drop[i] = out->drop[image];
}

int conv3d_jobs(const Conv3d *c, const GemmJob *out, GemmJob jobs[3], ConvPack packs[3], ConvPack *shortcut_pack)
{
    int count = 0;
    for (TimeTaps time = TIME_ALL; time <= TIME_ONE; time++) {
        GemmJob *j = &jobs[count];
        ConvPack *pack = &packs[count];
        *j = *out;
        j->images = 0;
        *pack = (ConvPack){c->weights, c->ci, c->kt, c->kh * c->kw, c->depth, c->channels_last, c->frames_in_channels, time};
        j->part[0] = (GemmPart){.base = c->frame[0][0], .taps = conv_pack_taps(pack), .depth = c->depth, .pack = conv_pack,
                                .weights = pack, .step_y = c->stride_h * c->in_row, .step_x = c->stride_w * c->in_pixel};
        j->parts = 1;
        if (c->shortcut.read != NULL) {
            *shortcut_pack = (ConvPack){c->shortcut, c->shortcut_ci, 1, 1, c->shortcut_depth, false, false, TIME_ALL};
            j->part[1] = (GemmPart){.base = c->shortcut_frame[0], .taps = 1, .depth = c->shortcut_depth, .pack = conv_pack,
                                    .weights = shortcut_pack, .step_y = c->shortcut_row, .step_x = c->shortcut_pixel};
            j->parts = 2;
        }
        for (int image = 0; image < out->images; image++) {
            if (repetition(c, image) == time) add_image(c, out, image, time, j);
        }
        if (j->images > 0) count++;
    }
    return count;
}
