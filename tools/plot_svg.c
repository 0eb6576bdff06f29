/*
 * The plot of upres bench as an SVG picture: the roofline (operations a second over operations a byte, both logarithmic) with
 * memory's slope and the ceilings of the device's instructions; networks, whose bytes are not counted, at its right edge;
 * below, what the numbers mean, and what moves data alone as bars against memory's rate.
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench.h"
#include "tools/console.h"

/* Pixels: of the chart; of the columns of what its numbers mean. */
enum { WIDTH = 1200, LEFT = 90, RIGHT = 1180, TOP = 84, CHART = 700, STRIP = 120 };
enum { ROW = 16, NAME = 40, VALUES = 330, VALUE = 165 };
enum { BAR_LEFT = 430, BAR_100 = 560 /* pixels of memory's whole rate */, GLYPH = 6 /* of a letter of 10 pixels, about */ };

typedef struct Text {
    char *text;
    size_t length, room;
} Text;

static void put(Text *t, const char *format, ...) PRINTF_LIKE(2, 3);
static void put(Text *t, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    const size_t more = (size_t)vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (t->length + more + 1 > t->room) {
        t->room = 2 * (t->length + more + 1);
        t->text = need_more(t->text, t->room);
    }
    vsnprintf(t->text + t->length, more + 1, format, again);
    va_end(again);
    t->length += more;
}

/* Text of others as XML has it. */
static void put_escaped(Text *t, const char *s)
{
    for (; *s != '\0'; s++) {
        if (*s == '&') put(t, "&amp;");
        else if (*s == '<') put(t, "&lt;");
        else if (*s == '>') put(t, "&gt;");
        else put(t, "%c", (unsigned char)*s < 0x20 || (unsigned char)*s > 0x7e ? '?' : *s);
    }
}

/* "1.53 T", "359 G" */
static const char *scaled(double value, char text[32])
{
    static const char *const unit[] = {"", " k", " M", " G", " T", " P"};
    int i = 0;
    for (; value >= 999.5 && i < 5; i++) value /= 1000;
    snprintf(text, 32, value < 9.995 ? "%.2f%s" : value < 99.95 ? "%.1f%s" : "%.0f%s", value, unit[i]);
    return text;
}

/* ------------------------------------------------------------------------------------------------------------ versions */

static const struct {
    const char *version, *color;
} colors[] = {
    {"scalar", "#7f7f7f"}, {"avx2", "#1f77b4"}, {"avx512", "#d62728"}, {"fp32", "#555555"}, {"fp16", "#8c564b"},
    {"bf16", "#1f77b4"},   {"int8", "#2ca02c"}, {"fp8", "#d62728"},    {"fp8x3", "#9467bd"},
};

static const char *color_of(const char *version)
{
    const size_t length = strcspn(version, ":");
    for (size_t i = 0; i < sizeof colors / sizeof *colors; i++) {
        if (strlen(colors[i].version) == length && strncmp(colors[i].version, version, length) == 0) return colors[i].color;
    }
    return "#000000";
}

/* A product by itself in one of its tiles. */
static bool is_form(const BenchRow *r) { return strchr(r->version, ':') != NULL; }

/* ---------------------------------------------------------------------------------------------------------------- boxes */

/* What labels must not lie on. */
typedef struct Box {
    double x0, y0, x1, y1;
} Box;

typedef struct Plot {
    Text t;
    const BenchRows *rows;
    double x_low, x_high, y_low, y_high; /* logarithms to the base of 10 */
    double right;                        /* of the roofline; the strip of networks lies beyond */
    Box *taken;
    size_t taken_count, taken_room;
} Plot;

static void take(Plot *p, Box b)
{
    if (p->taken_count == p->taken_room) {
        p->taken_room = p->taken_room > 0 ? 2 * p->taken_room : 256;
        p->taken = need_more(p->taken, p->taken_room * sizeof *p->taken);
    }
    p->taken[p->taken_count++] = b;
}

/* How much of the box is taken already, or lies outside the chart. */
static double covered(const Plot *p, Box b)
{
    double area = 0;
    if (b.x0 < LEFT || b.x1 > RIGHT || b.y0 < TOP || b.y1 > TOP + CHART) area += 1e4;
    for (size_t i = 0; i < p->taken_count; i++) {
        const Box *o = &p->taken[i];
        const double w = fmin(b.x1, o->x1) - fmax(b.x0, o->x0), h = fmin(b.y1, o->y1) - fmax(b.y0, o->y0);
        if (w > 0 && h > 0) area += w * h;
    }
    return area;
}

static double x_of(const Plot *p, double intensity)
{
    return LEFT + (log10(intensity) - p->x_low) / (p->x_high - p->x_low) * (p->right - LEFT);
}

static double y_of(const Plot *p, double flops)
{
    return TOP + CHART - (log10(flops) - p->y_low) / (p->y_high - p->y_low) * CHART;
}

/* --------------------------------------------------------------------------------------------------------- kinds of rows */

static bool in_roofline(const BenchRow *r) { return r->flops > 0 && r->bytes_per_second > 0; }
static bool in_strip(const BenchRow *r) { return r->flops > 0 && r->bytes_per_second <= 0; }
static bool in_bars(const BenchRow *r) { return r->flops <= 0 && r->bytes_per_second > 0; }

/* Does a case begin with that row? Its versions follow one another. */
static bool begins_case(const BenchRows *b, size_t i) { return i == 0 || strcmp(b->row[i].name, b->row[i - 1].name) != 0; }

static void widen(double *low, double *high, double value)
{
    if (value <= 0) return;
    *low = fmin(*low, log10(value));
    *high = fmax(*high, log10(value));
}

/* Axes that hold all points, all ceilings and the foot of each; a quarter of a decade around them. */
static void choose_axes(Plot *p)
{
    const upres_bench_context *c = &p->rows->context;
    double x0 = 1, x1 = 1, y0 = 15, y1 = 0;
    bool strip = false;
    for (size_t i = 0; i < p->rows->count; i++) {
        const BenchRow *r = &p->rows->row[i];
        if (r->flops > 0) widen(&y0, &y1, r->flops);
        if (in_roofline(r)) widen(&x0, &x1, r->flop / r->bytes);
        strip |= in_strip(r);
    }
    for (size_t i = 0; i < c->limit_count; i++) {
        widen(&y0, &y1, c->limit[i].flop_per_second);
        if (c->bytes_per_second > 0) widen(&x0, &x1, c->limit[i].flop_per_second / c->bytes_per_second);
    }
    if (y1 < y0) y0 = 9, y1 = 12;
    p->x_low = floor(4 * x0) / 4 - 0.25;
    p->x_high = ceil(4 * x1) / 4 + 0.5;
    p->y_low = floor(4 * y0) / 4 - 0.25;
    p->y_high = ceil(4 * y1) / 4 + 0.25;
    p->right = strip ? RIGHT - STRIP : RIGHT;
}

/* ----------------------------------------------------------------------------------------------------------------- axes */

/* Where an axis has marks: at powers of ten, on a short one at 2 and 5 times those too. low, high: logarithms of its ends. */
static double next_mark(double at, double low, double high)
{
    const double digit = at / pow(10, floor(log10(at) + 1e-9));
    if (high - low > 3) return at * 10;
    return at * (digit > 1.5 && digit < 3 ? 2.5 : 2);
}

static double first_mark(double low, double high)
{
    double at = pow(10, floor(low));
    while (log10(at) < low) at = next_mark(at, low, high);
    return at;
}

static void draw_grid(Plot *p)
{
    char value[32];
    Text *t = &p->t;
    for (double at = first_mark(p->x_low, p->x_high); log10(at) <= p->x_high; at = next_mark(at, p->x_low, p->x_high)) {
        const double x = x_of(p, at);
        put(t, "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>\n", x, x, TOP, TOP + CHART);
        put(t, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%g</text>\n", x, TOP + CHART + 16, at);
    }
    for (double at = first_mark(p->y_low, p->y_high); log10(at) <= p->y_high; at = next_mark(at, p->y_low, p->y_high)) {
        const double y = y_of(p, at);
        put(t, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>\n", LEFT, RIGHT, y, y);
        put(t, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%sFLOP/s</text>\n", LEFT - 6, y + 4, scaled(at, value));
    }
    put(t, "<rect class=\"frame\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/>\n", LEFT, TOP, RIGHT - LEFT, CHART);
    put(t, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">operations a byte that must be read or written</text>\n",
        (LEFT + p->right) / 2, TOP + CHART + 34);
    if (p->right == RIGHT) return;
    put(t, "<line class=\"frame\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>\n", p->right, p->right, TOP, TOP + CHART);
    put(t, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">networks</text>\n", p->right + STRIP / 2.0, TOP + CHART + 16);
}

/* ------------------------------------------------------------------------------------------------------------- ceilings */

/* Text above a line that goes from `from` to the right, or below it, where the least lies: as far right as that is. One that is
 * longer than its line begins before it. */
static void label_line(Plot *p, double from, double y, const char *label)
{
    const double width = GLYPH * (double)strlen(label), first = RIGHT - 6;
    double least = INFINITY;
    Box best = {0};
    for (double right = first; (right == first || right - width > from) && least > 0; right -= 15) {
        for (int below = 0; below < 2 && least > 0; below++) {
            const double base = below ? y + 13 : y - 4;
            const Box b = {right - width, base - 9, right, base + 1};
            const double area = covered(p, b);
            if (area >= least) continue;
            least = area;
            best = b;
        }
    }
    put(&p->t, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\" class=\"limit\">", best.x1, best.y1 - 1);
    put_escaped(&p->t, label);
    put(&p->t, "</text>\n");
    take(p, best);
}

/* Instructions of one rate share a line. */
static void draw_ceilings(Plot *p)
{
    const upres_bench_context *c = &p->rows->context;
    for (size_t i = 0; i < c->limit_count; i++) {
        const double peak = c->limit[i].flop_per_second;
        bool drawn = peak <= 0;
        for (size_t k = 0; k < i && !drawn; k++) drawn = c->limit[k].flop_per_second == peak;
        if (drawn) continue;
        char label[256] = "", value[32];
        size_t at = 0;
        for (size_t k = i; k < c->limit_count && at < sizeof label; k++) {
            if (c->limit[k].flop_per_second != peak) continue;
            at += (size_t)snprintf(label + at, sizeof label - at, "%s%s", at > 0 ? ", " : "", c->limit[k].name);
        }
        if (at < sizeof label) snprintf(label + at, sizeof label - at, ", %sFLOP/s", scaled(peak, value));
        const double foot = c->bytes_per_second > 0 ? x_of(p, peak / c->bytes_per_second) : LEFT, y = y_of(p, peak);
        put(&p->t, "<line class=\"ceiling\" x1=\"%.1f\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>\n", fmax(foot, LEFT), RIGHT, y, y);
        take(p, (Box){fmax(foot, LEFT), y - 1, RIGHT, y + 1});
        label_line(p, fmax(foot, LEFT), y, label);
    }
}

/* From the left or lower edge up to the highest ceiling. */
static void draw_slope(Plot *p)
{
    const upres_bench_context *c = &p->rows->context;
    const double rate = c->bytes_per_second;
    double high = 0;
    char value[32];
    if (rate <= 0) return;
    for (size_t i = 0; i < c->limit_count; i++) high = fmax(high, c->limit[i].flop_per_second);
    if (high <= 0) high = pow(10, p->y_high);
    const double from = fmax(pow(10, p->x_low), pow(10, p->y_low) / rate), to = fmin(high / rate, pow(10, p->x_high));
    if (from >= to) return;
    const double x0 = x_of(p, from), y0 = y_of(p, from * rate), x1 = x_of(p, to), y1 = y_of(p, to * rate);
    const double angle = atan2(y1 - y0, x1 - x0), length = hypot(x1 - x0, y1 - y0);
    put(&p->t, "<line class=\"ceiling\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>\n", x0, x1, y0, y1);
    const double at = fmin(12, length / 4); /* the text begins there, six pixels off the line */
    const double x = x0 + at * cos(angle) + 6 * sin(angle), y = y0 + at * sin(angle) - 6 * cos(angle);
    put(&p->t, "<text class=\"limit\" transform=\"translate(%.1f %.1f) rotate(%.1f)\">memory, %sB/s</text>\n", x, y,
        angle * 180 / acos(-1), scaled(rate, value));
    for (double d = 0; d < length; d += 6) { /* the line and, along its beginning, the text */
        const double side = d < at + 20.0 * GLYPH ? 14 : 2, cx = x0 + d * cos(angle), cy = y0 + d * sin(angle);
        take(p, (Box){cx - side, cy - side, cx + 2, cy + 2});
    }
}

/* --------------------------------------------------------------------------------------------------------------- points */

static double point_x(const Plot *p, size_t i, size_t number)
{
    const BenchRow *r = &p->rows->row[i];
    if (in_roofline(r)) return x_of(p, r->flop / r->bytes);
    return p->right + 18 + (double)(number * 29 % (STRIP - 36)); /* networks: side by side, in no order */
}

static void draw_point(Plot *p, const BenchRow *r, double x, double y)
{
    char flops[32];
    const char *color = color_of(r->version);
    put(&p->t, "<circle class=\"point\" cx=\"%.1f\" cy=\"%.1f\" %s fill=\"%s\" stroke=\"%s\"><title>", x, y,
        is_form(r) ? "r=\"2\" stroke-opacity=\"0.6\"" : "r=\"4\"", is_form(r) ? "none" : color, color);
    put_escaped(&p->t, r->name);
    put(&p->t, ", ");
    put_escaped(&p->t, r->version);
    put(&p->t, ": %sFLOP/s", scaled(r->flops, flops));
    if (r->of_flops >= 0) put(&p->t, ", %.0f %% of %s", 100 * r->of_flops, r->limit);
    put(&p->t, "</title></circle>\n");
}

/* The number beside its point, where nothing lies; a line leads to it when that is not near. */
static void label_point(Plot *p, const BenchRow *r, size_t number, double x, double y)
{
    char text[16];
    snprintf(text, sizeof text, "%zu", number);
    const double width = GLYPH * (double)strlen(text) + 1;
    double best = 0, least = INFINITY, best_x = x, best_y = y;
    for (double radius = 10; radius < 90 && least > 0; radius += 5) {
        for (int i = 0; i < 24 && least > 0; i++) {
            const double angle = i * acos(-1) / 12 - 0.4;
            const double cx = x + (radius + width / 4) * cos(angle), cy = y + radius * sin(angle);
            const double area = covered(p, (Box){cx - width / 2, cy - 5, cx + width / 2, cy + 5});
            if (area >= least) continue;
            least = area;
            best = radius;
            best_x = cx;
            best_y = cy;
        }
    }
    if (best > 18)
        put(&p->t, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\" stroke-width=\"0.4\"/>\n", x, y, best_x,
            best_y, color_of(r->version));
    put(&p->t, "<text class=\"number\" x=\"%.1f\" y=\"%.1f\" fill=\"%s\">%s</text>\n", best_x, best_y + 3.5,
        color_of(r->version), text);
    take(p, (Box){best_x - width / 2, best_y - 5, best_x + width / 2, best_y + 5});
}

/* No label shall lie on a point. */
static void take_point(Plot *p, const BenchRow *r, double x, double y)
{
    const double side = is_form(r) ? 2 : 5;
    take(p, (Box){x - side, y - side, x + side, y + side});
}

typedef enum Layer { TAKE_POINTS, DRAW_POINTS, LABEL_POINTS } Layer;

static void draw_points(Plot *p, Layer layer)
{
    const BenchRows *b = p->rows;
    size_t number = 0;
    for (size_t i = 0; i < b->count; i++) {
        const BenchRow *r = &b->row[i];
        if (r->flops <= 0) continue;
        number += begins_case(b, i);
        const double x = point_x(p, i, number), y = y_of(p, r->flops);
        if (layer == TAKE_POINTS) take_point(p, r, x, y);
        else if (layer == DRAW_POINTS) draw_point(p, r, x, y);
        else if (!is_form(r)) label_point(p, r, number, x, y);
    }
}

/* ---------------------------------------------------------------------------------------------------- what numbers mean */

/* Rows of the cases with operations, from y on; where they end. */
static double draw_names(Plot *p, double y)
{
    const BenchRows *b = p->rows;
    size_t number = 0, column = 0;
    for (size_t i = 0; i < b->count; i++) {
        const BenchRow *r = &b->row[i];
        char flops[32];
        if (r->flops <= 0) continue;
        if (begins_case(b, i)) {
            y += ROW;
            column = 0;
            put(&p->t, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%zu</text>\n<text x=\"%d\" y=\"%.1f\">", NAME - 8, y,
                ++number, NAME, y);
            put_escaped(&p->t, r->name);
            put(&p->t, "</text>\n");
        }
        if (is_form(r)) continue;
        put(&p->t, "<text x=\"%zu\" y=\"%.1f\" fill=\"%s\">%s %sFLOP/s", VALUES + VALUE * column++, y, color_of(r->version),
            r->version, scaled(r->flops, flops));
        if (r->of_flops >= 0) put(&p->t, ", %.0f %%", 100 * r->of_flops);
        put(&p->t, "</text>\n");
    }
    return number > 0 ? y + 2 * ROW : y;
}

static double draw_bar(Plot *p, const BenchRow *r, bool first, double scale, double y)
{
    char rate[32];
    const double length = fmin(r->bytes_per_second * scale, WIDTH - BAR_LEFT - 140);
    if (first) {
        put(&p->t, "<text x=\"%d\" y=\"%.1f\">", NAME, y);
        put_escaped(&p->t, r->name);
        put(&p->t, "</text>\n");
    }
    put(&p->t, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", BAR_LEFT - 6, y, r->version);
    put(&p->t, "<rect class=\"point\" x=\"%d\" y=\"%.1f\" width=\"%.1f\" height=\"9\" fill=\"%s\"/>\n", BAR_LEFT, y - 9,
        fmax(length, 1), color_of(r->version));
    put(&p->t, "<text class=\"bar\" x=\"%.1f\" y=\"%.1f\">%sB/s", BAR_LEFT + length + 5, y, scaled(r->bytes_per_second, rate));
    if (r->of_memory >= 0) put(&p->t, ", %.0f %%", 100 * r->of_memory);
    put(&p->t, "</text>\n");
    return y + ROW;
}

/* What only moves data; where that ends. */
static double draw_bars(Plot *p, double y)
{
    const BenchRows *b = p->rows;
    const double rate = b->context.bytes_per_second;
    double most = rate;
    int bars = 0;
    for (size_t i = 0; i < b->count; i++) {
        if (!in_bars(&b->row[i])) continue;
        bars++;
        if (rate <= 0) most = fmax(most, b->row[i].bytes_per_second);
    }
    if (bars == 0) return y;
    put(&p->t, "<text class=\"title\" x=\"%d\" y=\"%.1f\">Bytes a second of what moves data</text>\n", NAME, y);
    for (int percent = 85; rate > 0 && percent <= 100; percent += 15) {
        const double x = BAR_LEFT + BAR_100 * percent / 100.0;
        put(&p->t, "<line class=\"mark\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>\n", x, x, y + 8,
            y + 8 + ROW * (bars + 1));
        put(&p->t, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%d %%</text>\n", x, y + 6, percent);
    }
    y += ROW + 8;
    for (size_t i = 0; i < b->count; i++) {
        if (in_bars(&b->row[i])) y = draw_bar(p, &b->row[i], begins_case(b, i), BAR_100 / most, y);
    }
    return y;
}

/* --------------------------------------------------------------------------------------------------------------- picture */

static void draw_head(Plot *p, const char *date)
{
    const upres_bench_context *c = &p->rows->context;
    put(&p->t, "<text class=\"title\" x=\"%d\" y=\"28\">upres bench: ", NAME);
    put_escaped(&p->t, c->device);
    put(&p->t, "</text>\n<text x=\"%d\" y=\"48\">", NAME);
    put_escaped(&p->t, date);
    if (c->clock_ghz > 0) put(&p->t, "; %.3f GHz, ", c->clock_ghz);
    if (c->clock_ghz > 0) put_escaped(&p->t, c->clock_source);
    if (c->emulated) put(&p->t, "; EMULATED: times mean nothing");
    put(&p->t, "</text>\n<text x=\"%d\" y=\"66\">Filled: operations as networks ask for them. Hollow: the product by itself, "
        "in each tile. Percentages are of the instruction's ceiling.</text>\n", NAME);
}

char *bench_plot_svg(const BenchRows *b, const char *date)
{
    static const char style[] =
        "<style>text{font:11px sans-serif}.title{font-size:16px;font-weight:bold}"
        ".number,.limit,.bar{paint-order:stroke;stroke:#fff;stroke-width:2.5px}"
        ".number{font-size:10px;text-anchor:middle}.limit{font-size:10px}"
        ".grid{stroke:#e4e4e4}.frame{fill:none;stroke:#888}.ceiling{stroke:#444;stroke-width:1.5}"
        ".mark{stroke:#888;stroke-dasharray:3 3}</style>\n";
    Plot p = {.rows = b};
    put(&p.t, "%s<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n", style);
    choose_axes(&p);
    draw_head(&p, date);
    draw_grid(&p);
    draw_points(&p, TAKE_POINTS);
    draw_slope(&p);
    draw_ceilings(&p);
    draw_points(&p, DRAW_POINTS);
    draw_points(&p, LABEL_POINTS);
    const double height = draw_bars(&p, draw_names(&p, TOP + CHART + 50)) + ROW;
    Text whole = {0};
    put(&whole, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" "
        "height=\"%.0f\" viewBox=\"0 0 %d %.0f\">\n%s</svg>\n", WIDTH, height, WIDTH, height, p.t.text);
    free(p.t.text);
    free(p.taken);
    return whole.text;
}
