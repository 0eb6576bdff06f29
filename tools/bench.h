/* Measurements of upres bench, as the table, the files and the plot show them. */
#ifndef UPRES_TOOLS_BENCH_H
#define UPRES_TOOLS_BENCH_H

#include <stddef.h>

#include "runtime/upres.h"

/* One measurement and what follows from it; -1: not known. */
typedef struct BenchRow {
    char *name, *version, *kernel, *limit;
    double seconds, spread, cold, cpu;
    int runs, network;
    double flop, bytes;
    double flops, bytes_per_second; /* a second */
    double per_clock;               /* operations a clock of a multiprocessor or thread */
    double of_flops, of_memory;     /* share of the ceiling over its arithmetic, and of what memory gives; 1: all of it */
} BenchRow;

typedef struct BenchRows {
    BenchRow *row;
    size_t count, room;
    upres_bench_context context; /* a copy: its strings are owned */
    char *limit_names[12];
} BenchRows;

/* The plot as an SVG picture: text, to be freed. */
char *bench_plot_svg(const BenchRows *b, const char *date);

#endif
