#include "runtime/flash_networks.h"

#include "kernels/cpu/noise.h"
#include "runtime/device.h"
#include "runtime/flash_share.h"
#include "runtime/flash_version.h"
#include "runtime/models/flashvsr.h"
#include "runtime/models/tcdecoder.h"
#include "runtime/models/wan_vae.h"
#include "runtime/options.h"
#include "runtime/cuda/weight_room.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { LATENT = 8, CHANNELS = 16, FRAMES_A_LATENT = 4 }; /* pixels a latent cell; channels of a latent */

/* One of the job's devices: those of the tiles i with i % devices_used = its index live on it. */
typedef struct TileDevice {
    Device device;
    Dev *dev;
    atomic_int phase; /* PipelinePhase; with several devices, for the caller's thread */
} TileDevice;

/* One tile's streams. Of the decoders one is there. */
typedef struct Tile {
    StreamTile y, x; /* in the padded picture */
    FlashvsrStream *transformer;
    TcStream *tiny;
    WanStream *full;
    WanTiledStream *full_tiled; /* with decoder tiles of its own */
} Tile;

struct FlashNetworks {
    upres_options options;
    const WeightPart *dit_part, *lq_part, *text_part, *decoder_part;
    Flashvsr *transformer;
    TcDecoder *tiny; /* NULL in mode full */
    WanVae *full;    /* NULL in the tiny modes */
    bool causal;
    char version[1200];

    StreamSize size;
    int64_t start; /* frame of the clip that the scene begins with: noise is by position */
    int overlap;   /* of tiles, in pixels */
    Tile *tile;
    int tile_count;
    float *weight_sum; /* [padded_h][padded_w] of all tiles; NULL: one tile */
    TileDevice device[UPRES_DEVICES_MAX];
    int device_count, devices_used; /* used: there are tiles for them */
    atomic_bool stop;               /* several devices: the job was cancelled, or one of them failed */
    FlashWatch watch;
};

/* ------------------------------------------------------------------------------------------------- opening, weights */

static const WeightPart *require(const WeightSet *w, WeightNetwork n, int text_width, Fault *f)
{
    char error[512];
    const WeightPart *part = weight_set_require(w, n, false, text_width, error, sizeof error);
    if (!part) fault(f, UPRES_E_INPUT, "%s", error);
    return part;
}

/* Width of the text that the transformer takes; 0: its tensor is missing, which binding will say. */
static int text_width(const WeightPart *dit)
{
    char name[128];
    snprintf(name, sizeof name, "%stext_embedding.0.weight", dit->prefix);
    const WeightTensor *t = weight_file_find(dit->file, name);
    return t && t->rank == 2 && t->shape[1] <= INT32_MAX ? (int)t->shape[1] : 0;
}

static bool bind(FlashNetworks *m, const WeightSet *w, Fault *f)
{
    char error[512];
    bool full = m->options.mode == UPRES_MODE_FULL;
    m->dit_part = require(w, NET_FLASHVSR_DIT, 0, f);
    m->lq_part = m->dit_part ? require(w, NET_FLASHVSR_LQ, 0, f) : NULL;
    m->text_part = m->lq_part ? require(w, NET_TEXT, text_width(m->dit_part), f) : NULL;
    m->decoder_part = m->text_part ? require(w, full ? NET_WAN_VAE : NET_TCDECODER, 0, f) : NULL;
    if (!m->decoder_part) return false;
    m->transformer = flashvsr_open(m->dit_part, m->lq_part, m->text_part, error, sizeof error);
    if (m->transformer && full) m->full = wan_vae_open(m->decoder_part, false, true, error, sizeof error);
    if (m->transformer && !full) m->tiny = tcdecoder_open(m->decoder_part, error, sizeof error);
    if (!m->full && !m->tiny) {
        fault(f, UPRES_E_INPUT, "%s", error);
        return false;
    }
    m->causal = flash_version(m->options.flashvsr_version, m->lq_part, m->dit_part, m->version, sizeof m->version) ==
                UPRES_FLASHVSR_1_1;
    return true;
}

FlashNetworks *flash_networks_open(const WeightSet *w, const upres_options *o, Fault *f)
{
    FlashNetworks *m = calloc(1, sizeof *m);
    if (!m) {
        fault(f, UPRES_E_MEMORY, "no memory for a session");
        return NULL;
    }
    m->options = *o;
    m->device_count = o->device_count ? o->device_count : 1;
    bool chosen = true;
    for (int i = 0; chosen && i < m->device_count; i++) chosen = device_choose_of(o, i, &m->device[i].device, f);
    if (chosen && bind(m, w, f)) return m;
    flash_networks_close(m);
    return NULL;
}

static void close_streams(FlashNetworks *m)
{
    for (int i = 0; i < m->tile_count; i++) {
        Tile *t = &m->tile[i];
        tcdecoder_stream_close(t->tiny);
        wan_stream_close(t->full);
        wan_tiled_close(t->full_tiled);
        flashvsr_stream_close(t->transformer);
        t->tiny = NULL;
        t->full = NULL;
        t->full_tiled = NULL;
        t->transformer = NULL;
    }
}

static void close_devices(FlashNetworks *m)
{
    for (int i = 0; i < m->device_count; i++) {
        if (m->device[i].dev) dev_close(m->device[i].dev);
        m->device[i].dev = NULL;
    }
}

void flash_networks_close(FlashNetworks *m)
{
    if (!m) return;
    close_streams(m);
    close_devices(m);
    tcdecoder_close(m->tiny);
    wan_vae_close(m->full);
    flashvsr_close(m->transformer);
    free(m->tile);
    free(m->weight_sum);
    free(m);
}

const DevSetup *flash_networks_setup(const FlashNetworks *m, int device)
{
    return &m->device[device].device.setup;
}

const char *flash_networks_describe(const FlashNetworks *m, int device)
{
    return m->device[device].dev ? dev_describe(m->device[device].dev) : "";
}

DevTotals flash_networks_totals(const FlashNetworks *m, int device)
{
    return dev_totals(m->device[device].dev);
}

bool flash_networks_uses(const FlashNetworks *m, const WeightPart *part)
{
    return part == m->dit_part || part == m->lq_part || part == m->text_part || part == m->decoder_part;
}

const char *flash_networks_version(const FlashNetworks *m)
{
    return m->version;
}

/* --------------------------------------------------------------------------------------------------------------- tiles */

/* Output pixels that n source pixels become, up to a multiple. */
static int scaled_up(const FlashNetworks *m, int n, int multiple)
{
    int pixels = (int)(n * m->options.scale);
    return (pixels + multiple - 1) / multiple * multiple;
}

/* Side and overlap of the tiles in use; side 0: the whole picture is one. */
static void tile_form(const FlashNetworks *m, int *side, int *overlap)
{
    *side = m->options.tile ? scaled_up(m, m->options.tile, STREAM_MULTIPLE) : 0;
    if (*side >= m->size.padded_h && *side >= m->size.padded_w) *side = 0;
    *overlap = *side ? scaled_up(m, m->options.tile_overlap, LATENT) : 0;
}

static bool lay_tiles(FlashNetworks *m, StreamSize size, Fault *f)
{
    int side;
    m->size = size;
    tile_form(m, &side, &m->overlap);
    int tall = side ? side : size.padded_h, wide = side ? side : size.padded_w;
    int rows = stream_tiles(size.padded_h, tall, m->overlap, NULL);
    int columns = stream_tiles(size.padded_w, wide, m->overlap, NULL);
    StreamTile *span = malloc((size_t)(rows + columns) * sizeof *span);
    free(m->tile);
    m->tile_count = 0;
    m->tile = calloc((size_t)rows * (size_t)columns, sizeof *m->tile);
    if (span && m->tile) {
        stream_tiles(size.padded_h, tall, m->overlap, span);
        stream_tiles(size.padded_w, wide, m->overlap, span + rows);
        for (int i = 0; i < rows * columns; i++)
            m->tile[i] = (Tile){.y = span[i / columns], .x = span[rows + i % columns]};
        m->tile_count = rows * columns;
        m->devices_used = m->tile_count < m->device_count ? m->tile_count : m->device_count;
    }
    free(span);
    return m->tile_count || fault(f, UPRES_E_MEMORY, "no memory for a list of tiles") == UPRES_OK;
}

bool flash_networks_tile(const FlashNetworks *m, int i, StreamTile *y, StreamTile *x)
{
    if (i < 0 || i >= m->tile_count) return false;
    *y = m->tile[i].y;
    *x = m->tile[i].x;
    return true;
}

/* The weights of a tile's rows and columns. */
static void weigh(const FlashNetworks *m, const Tile *t, float *rows, float *columns)
{
    stream_tile_weights(t->y.hi - t->y.lo, m->overlap, t->y.lo > 0, t->y.hi < m->size.padded_h, rows);
    stream_tile_weights(t->x.hi - t->x.lo, m->overlap, t->x.lo > 0, t->x.hi < m->size.padded_w, columns);
}

static float lesser(float a, float b)
{
    return a < b ? a : b;
}

static bool sum_weights(FlashNetworks *m, Fault *f)
{
    if (m->tile_count < 2) return true;
    size_t h = (size_t)m->size.padded_h, w = (size_t)m->size.padded_w;
    float *line = malloc((h + w) * sizeof *line);
    m->weight_sum = calloc(h * w, sizeof *m->weight_sum);
    for (int i = 0; line && m->weight_sum && i < m->tile_count; i++) {
        const Tile *t = &m->tile[i];
        weigh(m, t, line, line + h);
        for (int y = t->y.lo; y < t->y.hi; y++)
            for (int x = t->x.lo; x < t->x.hi; x++)
                m->weight_sum[(size_t)y * w + (size_t)x] += lesser(line[y - t->y.lo], line[h + (size_t)(x - t->x.lo)]);
    }
    bool ok = line && m->weight_sum;
    free(line);
    return ok || fault(f, UPRES_E_MEMORY, "no memory for the weights of tiles") == UPRES_OK;
}

/* --------------------------------------------------------------------------------------------------- chunks on a device */

/* Of the tiles of one device, on d: that device or a plan of it. */
static void open_streams(FlashNetworks *m, int device, Dev *d)
{
    const upres_options *o = &m->options;
    const FlashvsrSetup setup = {
        .causal = m->causal,
        .sparse_ratio = o->sparse_ratio,
        .kv_slices = o->kv_slices,
        .local_range = o->local_range,
        .block_keys = o->block_keys,
    };
    for (int i = device; i < m->tile_count && dev_ok(d); i += m->devices_used) {
        Tile *t = &m->tile[i];
        int h = t->y.hi - t->y.lo, w = t->x.hi - t->x.lo;
        t->transformer = flashvsr_stream_open(m->transformer, d, h, w, setup);
        if (m->full && o->vae_decode_tile > 0)
            t->full_tiled = wan_tiled_open(m->full, d, h / LATENT, w / LATENT, o->vae_decode_tile / LATENT);
        else if (m->full)
            t->full = wan_decode_open(m->full, d, h / LATENT, w / LATENT);
        else
            t->tiny = tcdecoder_stream_open(m->tiny, d, h / LATENT, w / LATENT);
    }
}

/* What a tile reads from and writes to. */
typedef struct TileLink {
    const FlashNetworks *m;
    const Tile *tile;
    VaeVideo low, pictures;
    float *rows, *columns; /* weights; NULL: one tile */
} TileLink;

static bool read_low(void *user, const VaeRegion *r)
{
    const TileLink *l = user;
    VaeRegion whole = *r;
    whole.y += l->tile->y.lo;
    whole.x += l->tile->x.lo;
    return l->low.read(l->low.user, &whole);
}

static bool write_picture(void *user, const VaeRegion *r, bool add)
{
    const TileLink *l = user;
    VaeRegion whole = *r;
    whole.y += l->tile->y.lo;
    whole.x += l->tile->x.lo;
    for (int c = 0; c < r->channels; c++)
        for (int y = 0; y < r->height; y++) {
            float *row = r->data + c * r->plane + y * r->row; /* handed over for good */
            if (l->m->tiny)                                   /* the small decoder's pictures are in [0, 1] */
                for (int x = 0; x < r->width; x++) row[x] = row[x] * 2.0f - 1.0f;
            if (!l->rows) continue;
            const float *sum = l->m->weight_sum + (size_t)(whole.y + y) * (size_t)l->m->size.padded_w + (size_t)whole.x;
            for (int x = 0; x < r->width; x++) row[x] *= lesser(l->rows[r->y + y], l->columns[r->x + x]) / sum[x];
        }
    return l->pictures.write(l->pictures.user, &whole, add || l->rows);
}

static void fill_noise(const FlashNetworks *m, const Tile *t, Dev *d, Tensor latent, int64_t first)
{
    dev_noise(d, &(NoiseArgs){.x = latent,
                              .seed = m->options.seed,
                              .stream = NOISE_BASE,
                              .frame = m->start + FRAMES_A_LATENT * first,
                              .frame_step = FRAMES_A_LATENT,
                              .top = t->y.lo / LATENT,
                              .left = t->x.lo / LATENT});
}

/* On the caller's thread. */
static void tell(const FlashNetworks *m, PipelinePhase phase, int tile)
{
    if (m->watch.phase) m->watch.phase(m->watch.user, phase);
    if (m->watch.progress) m->watch.progress(m->watch.user, (double)tile / m->tile_count);
}

static void enter(FlashNetworks *m, Dev *d, PipelinePhase phase, int tile)
{
    if (dev_is_plan(d)) return;
    if (m->devices_used > 1) {
        atomic_store(&m->device[tile % m->devices_used].phase, (int)phase);
        return;
    }
    dev_leave(d); /* whoever is told finds the thread as it was */
    tell(m, phase, tile);
    dev_enter(d);
}

static Prediction predicted(const Dev *d)
{
    const Prediction *p = cuda_prediction(d);
    return p != NULL ? *p : (Prediction){.count = 0};
}

static void add_difference(Prediction *to, const Prediction *later, const Prediction *earlier)
{
    prediction_add(to, later, 1);
    prediction_add(to, earlier, -1);
}

/* The next chunk of one tile; the same on every device. first: number of its first latent frame. */
static void run_tile(FlashNetworks *m, Dev *d, int tile, int64_t first, TileLink *link, ChunkCost *cost)
{
    const Tile *t = &m->tile[tile];
    VaeVideo low = {link, read_low, NULL}, pictures = {link, NULL, write_picture};
    Tensor latent = dev_floats(d, flashvsr_chunk_latents(t->transformer), (t->y.hi - t->y.lo) / LATENT,
                               (t->x.hi - t->x.lo) / LATENT, CHANNELS);
    double before = dev_totals(d).flop;
    const Prediction begun = predicted(d);
    if (dev_ok(d)) {
        enter(m, d, PHASE_TRANSFORMER, tile);
        dev_weight_group(d, 0);
        fill_noise(m, t, d, latent, first);
        flashvsr_chunk(t->transformer, low, latent);
    }
    double between = dev_totals(d).flop;
    const Prediction half = predicted(d);
    if (dev_ok(d)) {
        enter(m, d, PHASE_DECODE, tile);
        dev_weight_group(d, 1);
        if (t->full_tiled)
            wan_tiled_decode(t->full_tiled, latent, pictures);
        else if (t->full)
            wan_decode(t->full, latent, pictures);
        else
            tcdecoder_run(t->tiny, latent, low, pictures);
    }
    cost->transformer += between - before;
    cost->decode += dev_totals(d).flop - between;
    const Prediction ended = predicted(d);
    add_difference(&cost->transformer_time, &half, &begun);
    add_difference(&cost->decode_time, &ended, &half);
    dev_free(d, &latent);
}

/* Number of the first latent frame of a chunk. */
static int64_t first_latent(int64_t k)
{
    return k ? 2 * k + 4 : 0;
}

/* The first device's tiles; with one device these are all. weights: room for a tile's; NULL: one tile, or a plan. */
static ChunkCost run_tiles(FlashNetworks *m, Dev *d, int64_t k, VaeVideo low, VaeVideo pictures, float *weights)
{
    ChunkCost cost = {.transformer = 0};
    for (int i = 0; i < m->tile_count && dev_ok(d); i += m->devices_used) {
        TileLink link = {m, &m->tile[i], low, pictures, weights, NULL};
        if (weights) {
            link.columns = weights + m->size.padded_h;
            weigh(m, link.tile, link.rows, link.columns);
        }
        run_tile(m, d, i, first_latent(k), &link, &cost);
    }
    return cost;
}

/* Did all go well on the device? A callback's own sentence comes before the device's. */
static bool fine(const FlashNetworks *m, int device, Fault *f)
{
    if (f->status != UPRES_OK) return false;
    device_fine(m->device[device].dev, f);
    if (m->device_count > 1) device_name_fault(&m->device[device].device, f);
    return f->status == UPRES_OK;
}

static float *room_for_weights(const FlashNetworks *m, Fault *f)
{
    float *weights = malloc((size_t)(m->size.padded_h + m->size.padded_w) * sizeof *weights);
    if (!weights) fault(f, UPRES_E_MEMORY, "no memory for the weights of tiles");
    return weights;
}

static bool run_alone(FlashNetworks *m, int64_t k, VaeVideo low, VaeVideo pictures, Fault *f)
{
    Dev *d = m->device[0].dev;
    float *weights = m->tile_count > 1 ? room_for_weights(m, f) : NULL;
    if (f->status != UPRES_OK) return false;
    dev_enter(d);
    run_tiles(m, d, k, low, pictures, weights);
    dev_leave(d);
    free(weights);
    return fine(m, 0, f);
}

/* A chunk whose tiles are shared out. */
typedef struct SharedChunk {
    FlashNetworks *m;
    int64_t k;
    const VaeVideo *low; /* of each device */
} SharedChunk;

static void run_shared_tile(void *user, int device, int tile, VaeVideo pictures, Fault *f)
{
    const SharedChunk *c = user;
    FlashNetworks *m = c->m;
    Dev *d = m->device[device].dev;
    ChunkCost cost = {.transformer = 0};
    float *weights = room_for_weights(m, f);
    if (!weights) return;
    TileLink link = {m, &m->tile[tile], c->low[device], pictures, weights, weights + m->size.padded_h};
    weigh(m, link.tile, link.rows, link.columns);
    dev_enter(d);
    run_tile(m, d, tile, first_latent(c->k), &link, &cost);
    dev_leave(d);
    free(weights);
    fine(m, device, f);
}

static bool waiting(void *user, int tile)
{
    FlashNetworks *m = ((const SharedChunk *)user)->m;
    tell(m, (PipelinePhase)atomic_load(&m->device[tile % m->devices_used].phase), tile);
    if (m->options.cancel && m->options.cancel(m->options.user)) atomic_store(&m->stop, true);
    return !atomic_load(&m->stop);
}

static void abandon(void *user)
{
    atomic_store(&((const SharedChunk *)user)->m->stop, true);
}

static bool run_shared(FlashNetworks *m, int64_t k, const VaeVideo *low, VaeVideo pictures, Fault *f)
{
    SharedChunk c = {m, k, low};
    const FlashShare share = {m->tile_count, m->devices_used, &c, run_shared_tile, waiting, abandon};
    for (int i = 0; i < m->devices_used; i++) atomic_store(&m->device[i].phase, (int)PHASE_TRANSFORMER);
    return flash_share(&share, pictures, f);
}

static bool run_chunk(void *user, int64_t k, const VaeVideo *low, VaeVideo pictures, Fault *f)
{
    FlashNetworks *m = user;
    if (m->watch.chunk_begins) m->watch.chunk_begins(m->watch.user, k);
    const bool ok = m->devices_used > 1 ? run_shared(m, k, low, pictures, f) : run_alone(m, k, low[0], pictures, f);
    if (m->watch.chunk_ends) m->watch.chunk_ends(m->watch.user, k);
    return ok;
}

/* The streams of all tiles, each on its device. */
static bool start_streams(FlashNetworks *m, Fault *f)
{
    for (int i = 0; i < m->devices_used; i++) {
        Dev *d = m->device[i].dev;
        dev_enter(d);
        open_streams(m, i, d);
        dev_leave(d);
        if (!fine(m, i, f)) return false;
    }
    return true;
}

static bool restart(void *user, int64_t start, Fault *f)
{
    FlashNetworks *m = user;
    close_streams(m);
    m->start = start;
    return start_streams(m, f);
}

StreamNetworks flash_networks_run(FlashNetworks *m)
{
    return (StreamNetworks){m, restart, run_chunk};
}

/* ---------------------------------------------------------------------------------------------------- plan and start */

/* Chunks until memory is at its peak: the cache is full after as many slices as it keeps, of which the first chunk has three. */
static int64_t chunks_to_run(const FlashNetworks *m, const StreamPipelineSetup *s)
{
    int64_t full = m->options.kv_slices > 3 ? m->options.kv_slices : 3;
    int64_t all = s->frames ? stream_chunks(s->frames) : full;
    return all < full ? all : full;
}

static bool does_not_fit(const FlashPlan *plan, uint64_t needed, bool full, Fault *f)
{
    char needs[32], has[32];
    const char *where = !plan->weights.all ? "memory" : plan->devices > 1 ? "each GPU's memory" : "the GPU's memory";
    fault(f, UPRES_E_MEMORY,
          "the job needs %s of %s, but %s can be had; use a smaller --scale, fewer --kv-slices%s, or raise --memory",
          cost_bytes(needed, needs), where, cost_bytes(plan->limit, has), full ? ", --mode tiny-long" : "");
    f->needed = needed;
    return false;
}

/* Host memory: of the pipeline, and beside it. */
static uint64_t fixed_bytes(const FlashNetworks *m, const StreamPipelineSetup *s)
{
    const uint64_t picture = (uint64_t)m->size.padded_h * (uint64_t)m->size.padded_w, devices = (uint64_t)m->devices_used;
    const Tile *t = &m->tile[0];
    const uint64_t tile = (uint64_t)(t->y.hi - t->y.lo) * (uint64_t)(t->x.hi - t->x.lo);
    StreamPipelineSetup with = *s;
    with.readers = devices > 1 ? m->devices_used : 0;
    uint64_t bytes = stream_pipeline_bytes(&with) + cost_program_bytes(m->options.threads);
    if (m->tile_count > 1) bytes += picture * sizeof(float);
    if (m->device[0].device.setup.cuda) bytes += devices * cost_staging_bytes(picture * 3 * sizeof(float));
    if (devices > 1) bytes += devices * FLASH_SHARE_AHEAD * tile * 3 * sizeof(float) * (STREAM_FIRST_FRAMES - STREAM_AHEAD);
    return bytes;
}

/* What a device counted, fitted under the limit: where not all weights fit they are streamed. */
static bool fit(const FlashNetworks *m, const StreamPipelineSetup *s, DevTotals totals, FlashPlan *plan, Fault *f)
{
    plan->arena_bytes = totals.arena_peak;
    plan->weights = totals.weights;
    plan->weight_bytes = totals.weights.all ? weight_need_all(&totals.weights) : totals.weight_bytes;
    plan->fixed_bytes = fixed_bytes(m, s);
    /* A device's limit is its own memory, which holds none of the frames. */
    const uint64_t beside = plan->arena_bytes + (m->device[0].device.setup.cuda ? 0 : plan->fixed_bytes);
    const uint64_t least = totals.weights.all ? weight_need_least(&totals.weights) : plan->weight_bytes;
    const uint64_t room = cost_room(plan->limit, beside);
    if (least > room) return does_not_fit(plan, beside + least, m->full != NULL, f);
    if (plan->weight_bytes > room) plan->weight_bytes = room;
    plan->peak_bytes = beside + plan->weight_bytes;
    cost_weights_note(&plan->weights, plan->weight_bytes, plan->note);
    return true;
}

/* Of all tiles, from that of the first device's; tiles are of one size. */
static ChunkCost of_all_tiles(const FlashNetworks *m, const ChunkCost *part)
{
    const double times = (double)m->tile_count / ((m->tile_count - 1) / m->devices_used + 1);
    ChunkCost all = {.transformer = part->transformer * times, .decode = part->decode * times};
    prediction_add(&all.transformer_time, &part->transformer_time, times);
    prediction_add(&all.decode_time, &part->decode_time, times);
    return all;
}

/* The first device's part, as no other has more to do. */
static bool plan_within(FlashNetworks *m, const StreamPipelineSetup *s, uint64_t limit, FlashPlan *plan, Fault *f)
{
    *plan = (FlashPlan){.limit = limit};
    if (!lay_tiles(m, s->picture.size, f)) return false;
    tile_form(m, &plan->tile, &plan->overlap);
    plan->tiles = m->tile_count;
    plan->devices = m->devices_used;
    Dev *d = dev_plan_open(&m->device[0].device.setup);
    if (!d) return fault(f, UPRES_E_MEMORY, "no memory to plan with") == UPRES_OK;
    open_streams(m, 0, d);
    int64_t chunks = chunks_to_run(m, s);
    for (int64_t k = 0; k < chunks && dev_ok(d); k++) {
        const ChunkCost part = run_tiles(m, d, k, (VaeVideo){0}, (VaeVideo){0}, NULL);
        plan->next = of_all_tiles(m, &part);
        if (k == 0) plan->first = plan->next;
    }
    DevTotals totals = dev_totals(d);
    bool ok = dev_ok(d);
    if (!ok) fault(f, UPRES_E_INPUT, "%s", dev_error(d));
    close_streams(m);
    dev_close(d);
    return ok && fit(m, s, totals, plan, f);
}

/* Bytes that each of the devices can give; 0: not known of any. After a plan of `planned` bytes (0: none) that could not be
 * had: of something smaller. */
static uint64_t least_limit(const FlashNetworks *m, int devices, uint64_t planned)
{
    uint64_t least = 0;
    for (int i = 0; i < devices; i++) {
        const Device *d = &m->device[i].device;
        const uint64_t limit = planned ? device_smaller_limit(d, &m->options, planned) : device_limit(d, &m->options);
        if (limit && (!least || limit < least)) least = limit;
    }
    return least;
}

bool flash_networks_plan(FlashNetworks *m, const StreamPipelineSetup *s, FlashPlan *plan, Fault *f)
{
    if (!lay_tiles(m, s->picture.size, f)) return false;
    return plan_within(m, s, least_limit(m, m->devices_used, 0), plan, f);
}

static int stopped(void *user)
{
    return atomic_load(&((FlashNetworks *)user)->stop);
}

/* *no_memory: the GPU had less than was planned. */
static bool open_device(FlashNetworks *m, int device, const FlashPlan *plan, bool *no_memory, Fault *f)
{
    char error[512];
    TileDevice *t = &m->device[device];
    DevSetup setup = t->device.setup;
    setup.weights = plan->weights;
    setup.weight_limit = plan->weight_bytes;
    t->dev = dev_try(&setup, plan->arena_bytes, no_memory, error, sizeof error);
    if (!t->dev) {
        fault(f, *no_memory || !setup.cuda ? UPRES_E_MEMORY : UPRES_E_RUNTIME, "%s", error);
        if (m->device_count > 1) device_name_fault(&t->device, f);
        return false;
    }
    /* The caller's function is for the caller's thread. */
    if (plan->devices > 1) dev_set_cancel(t->dev, stopped, m);
    else dev_set_cancel(t->dev, m->options.cancel, m->options.user);
    return true;
}

static bool open_devices(FlashNetworks *m, const FlashPlan *plan, bool *no_memory, Fault *f)
{
    *no_memory = false;
    for (int i = 0; i < plan->devices; i++)
        if (!open_device(m, i, plan, no_memory, f)) {
            close_devices(m);
            return false;
        }
    return start_streams(m, f);
}

bool flash_networks_start(FlashNetworks *m, const StreamPipelineSetup *s, FlashPlan *plan, FlashWatch watch, Fault *f)
{
    bool no_memory;
    m->watch = watch;
    if (!flash_networks_plan(m, s, plan, f) || !sum_weights(m, f)) return false;
    device_log_choice(&m->device[0].device, &m->options);
    if (open_devices(m, plan, &no_memory, f)) return true;
    if (!no_memory) return false;
    options_log(&m->options, UPRES_LOG_NOTE, "%s; trying with less%s", f->text, plan->devices > 1 ? " on all of them" : "");
    *f = (Fault){0};
    for (int i = 0; i < m->device_count; i++) m->device[i].device.setup.may_spill = false; /* slow is better than not at all */
    return plan_within(m, s, least_limit(m, plan->devices, plan->peak_bytes), plan, f) && open_devices(m, plan, &no_memory, f);
}
