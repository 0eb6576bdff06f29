#include "runtime/schedule.h"

#include <stdlib.h>

static const int64_t ENDLESS = INT64_MAX / 4; /* leaves room for sums with batch sizes */

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void make_plan(Schedule *s, int batch_size, int overlap, bool uniform)
{
    int64_t total = s->frames < 0 ? ENDLESS : s->frames > 0 ? s->frames + s->prepend : 0;
    s->plan = batch_plan(total, batch_size, overlap, uniform);
}

void schedule_init(Schedule *s, int64_t frames, int batch_size, int overlap, bool uniform, int prepend,
                   bool whole_slices)
{
    *s = (Schedule){.frames = frames > 0 ? frames : -1, .prepend = prepend, .whole_slices = whole_slices};
    make_plan(s, batch_size, overlap, uniform);
}

void schedule_free(Schedule *s)
{
    free(s->wanted);
    *s = (Schedule){0};
}

bool schedule_select(Schedule *s, int64_t first, int64_t last)
{
    if (s->wanted_count == s->wanted_capacity) {
        size_t capacity = s->wanted_capacity ? 2 * s->wanted_capacity : 16;
        FrameRange *grown = realloc(s->wanted, capacity * sizeof *grown);
        if (!grown) return false;
        s->wanted = grown;
        s->wanted_capacity = capacity;
    }
    s->wanted[s->wanted_count++] = (FrameRange){first, smaller(last, ENDLESS)};
    return true;
}

static int by_first(const void *a, const void *b)
{
    int64_t x = ((const FrameRange *)a)->first, y = ((const FrameRange *)b)->first;
    return (x > y) - (x < y);
}

void schedule_seal(Schedule *s)
{
    if (!s->wanted_count) return;
    qsort(s->wanted, s->wanted_count, sizeof *s->wanted, by_first);
    size_t kept = 1;
    for (size_t i = 1; i < s->wanted_count; i++) {
        FrameRange *before = &s->wanted[kept - 1];
        if (s->wanted[i].first > before->last + 1)
            s->wanted[kept++] = s->wanted[i];
        else if (s->wanted[i].last > before->last)
            before->last = s->wanted[i].last;
    }
    s->wanted_count = kept;
}

void schedule_end(Schedule *s, int64_t frames)
{
    s->frames = frames;
    make_plan(s, s->plan.size, s->plan.overlap, s->plan.uniform);
}

/* The first wanted position at or after `position`; -1: none. Mirrored frames in front are never wanted. */
static int64_t next_wanted(const Schedule *s, int64_t position)
{
    int64_t frame = position < s->prepend ? 0 : position - s->prepend;
    if (s->wanted_count) {
        size_t low = 0, high = s->wanted_count; /* the first range that does not end before `frame` */
        while (low < high) {
            size_t middle = low + (high - low) / 2;
            if (s->wanted[middle].last < frame)
                low = middle + 1;
            else
                high = middle;
        }
        if (low == s->wanted_count) return -1;
        if (s->wanted[low].first > frame) frame = s->wanted[low].first;
    }
    return frame + s->prepend < s->plan.total ? frame + s->prepend : -1;
}

/* The first batch that reaches beyond `position`: the one whose slice it is in. */
static int64_t owner(const Schedule *s, int64_t position)
{
    return position < s->plan.size ? 0 : (position - s->plan.size) / s->plan.step + 1;
}

static Batch slice_of(const Schedule *s, int64_t position)
{
    return batch_at(&s->plan, owner(s, position));
}

int64_t schedule_next_batch(const Schedule *s, int64_t k)
{
    if (k >= s->plan.count) return -1;
    int64_t from = k * s->plan.step;
    if (s->whole_slices) from = slice_of(s, from).write_lo;
    int64_t position = next_wanted(s, from);
    if (position < 0) return -1;
    if (s->whole_slices) position = slice_of(s, position).write_lo; /* the slice's first frame has to be there too */
    int64_t first = owner(s, position);
    return first > k ? first : k;
}

int64_t schedule_results(const Schedule *s)
{
    int64_t results = s->wanted_count ? 0 : s->frames;
    for (size_t i = 0; i < s->wanted_count; i++) {
        const FrameRange r = {s->wanted[i].first, smaller(s->wanted[i].last, s->frames - 1)};
        if (r.last >= r.first) results += r.last - r.first + 1;
    }
    return results;
}

int64_t schedule_batch_count(const Schedule *s, bool *last)
{
    int64_t count = 0, k = schedule_next_batch(s, 0), end = s->plan.count - 1;
    *last = k >= 0 && !s->wanted_count;
    if (*last) return end - k + 1; /* all but those of mirrored frames alone */
    for (; k >= 0; k = schedule_next_batch(s, k + 1)) {
        count++;
        *last = k == end;
    }
    return count;
}

bool schedule_settled(const Schedule *s, int64_t k)
{
    if (s->frames >= 0) return true;
    /* One frame beyond the batch shows that it is whole and not the last; as many as are mirrored and one more that the
     * mirror does not meet the end. */
    int64_t reach = k * s->plan.step + s->plan.size + 1 - s->prepend;
    int64_t mirror = s->prepend ? s->prepend + 1 : 0;
    return s->seen >= reach && s->seen >= mirror;
}

int64_t schedule_final_from(const Schedule *s, int64_t k)
{
    return k + 1 < s->plan.count ? (k + 1) * s->plan.step : INT64_MAX;
}

int64_t schedule_slice_end(const Schedule *s, int64_t position)
{
    return slice_of(s, position).write_hi;
}

bool schedule_gives(const Schedule *s, int64_t position)
{
    return next_wanted(s, position) == position;
}

bool schedule_keeps(const Schedule *s, int64_t position)
{
    if (!s->whole_slices) return schedule_gives(s, position);
    Batch slice = slice_of(s, position);
    int64_t wanted = next_wanted(s, slice.write_lo);
    return wanted >= 0 && wanted < slice.write_hi;
}

int64_t schedule_last_kept(const Schedule *s, const Batch *b)
{
    int64_t position = b->end - 1;
    while (position > b->start && !schedule_keeps(s, position)) position--;
    return position;
}

int64_t schedule_source(const Schedule *s, int64_t position)
{
    if (position >= s->prepend) return position - s->prepend;
    int64_t frames = s->frames >= 0 ? s->frames : s->seen; /* settled: enough are seen for the mirror */
    return mirror_index(frames, s->prepend, true, position);
}

/* Does any batch that runs hold this position? */
static bool used(const Schedule *s, int64_t position)
{
    int64_t k = schedule_next_batch(s, owner(s, position));
    return k >= 0 && k * s->plan.step <= position;
}

static bool mirrored_and_used(const Schedule *s, int64_t source)
{
    for (int64_t position = 0; position < s->prepend; position++)
        if (schedule_source(s, position) == source && used(s, position)) return true;
    return false;
}

int64_t schedule_next_source(const Schedule *s, int64_t after)
{
    int64_t frame = after + 1;
    if (s->frames < 0) return frame;
    while (frame < s->frames) {
        if (used(s, frame + s->prepend) || (frame <= s->prepend && mirrored_and_used(s, frame))) return frame;
        frame++;
        if (frame <= s->prepend) continue;
        int64_t k =
            schedule_next_batch(s, owner(s, frame + s->prepend)); /* skip what lies between two batches that run */
        if (k < 0) return -1;
        if (k * s->plan.step - s->prepend > frame) frame = k * s->plan.step - s->prepend;
    }
    return -1;
}

int64_t schedule_latency(const Schedule *s, int ahead)
{
    int64_t first = schedule_next_batch(s, 0);
    if (first < 0) return 0;
    int64_t position = next_wanted(s, first * s->plan.step);
    int64_t needed = s->whole_slices ? schedule_slice_end(s, position) : position + 1;
    int64_t k = (needed - 1) / s->plan.step; /* the batch after which nothing before `needed` changes any more */
    if (k >= s->plan.count) k = s->plan.count - 1;
    for (int64_t next; ahead > 0 && (next = schedule_next_batch(s, k + 1)) >= 0; ahead--) k = next;
    int64_t reach = k * s->plan.step + s->plan.size + (s->frames < 0) - s->prepend;
    if (s->prepend && reach < s->prepend + 1) reach = s->prepend + 1;
    int64_t end = s->frames < 0 ? reach : smaller(reach, s->frames);
    return end - schedule_next_source(s, -1);
}
