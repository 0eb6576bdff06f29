/* upres bench: times of kernels, networks and phases, as a table, CSV, JSON in the form of google/benchmark, and a plot. */
#include "tools/bench.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tools/json_out.h"
#include "tools/options.h"
#include "tools/platform.h"
#include "tools/sequence.h"
#include "tools/verbs.h"

extern const char upres_commit[]; /* made by the Makefile; "" where the source came without its history */

#define COLD_IS                                                                                                   \
    "one run after memory of twice the last cache's size was written; of networks the first run, with kernels "    \
    "and weights made ready"

typedef struct Bench {
    Job *job;
    BenchRows rows;
    char date[40];
} Bench;

/* --------------------------------------------------------------------------------------------------------------- rows */

/* a / b, or -1 where either is not known. */
static double share(double a, double b) { return a > 0 && b > 0 ? a / b : -1; }

static void keep_context(BenchRows *b, const upres_bench_context *c)
{
    b->context = *c;
    b->context.device = new_text("%s", c->device);
    b->context.driver = new_text("%s", c->driver);
    b->context.kernels = new_text("%s", c->kernels);
    b->context.clock_source = new_text("%s", c->clock_source);
    b->context.memory_source = new_text("%s", c->memory_source);
    for (size_t i = 0; i < c->limit_count; i++) b->context.limit[i].name = b->limit_names[i] = new_text("%s", c->limit[i].name);
}

static void rows_add(BenchRows *b, const upres_bench_result *r)
{
    if (b->count == 0) keep_context(b, r->context);
    if (b->count == b->room) {
        b->room = b->room > 0 ? 2 * b->room : 64;
        b->row = need_more(b->row, b->room * sizeof *b->row);
    }
    BenchRow *row = &b->row[b->count++];
    *row = (BenchRow){.name = new_text("%s", r->name), .version = new_text("%s", r->version),
                      .kernel = new_text("%s", r->kernel), .limit = new_text("%s", r->limit), .seconds = r->seconds,
                      .spread = r->spread, .runs = r->runs, .network = r->network, .flop = r->flop, .bytes = r->bytes};
    row->cold = r->cold_seconds > 0 ? r->cold_seconds : -1;
    row->cpu = r->cpu_seconds > 0 ? r->cpu_seconds : -1;
    row->flops = share(r->flop, r->seconds);
    row->bytes_per_second = share(r->bytes, r->seconds);
    row->per_clock = share(row->flops, r->context->units * r->context->clock_ghz * 1e9);
    row->of_flops = share(row->flops, r->limit_flop);
    row->of_memory = share(row->bytes_per_second, r->context->bytes_per_second);
}

static void rows_free(BenchRows *b)
{
    for (size_t i = 0; i < b->count; i++) {
        free(b->row[i].name);
        free(b->row[i].version);
        free(b->row[i].kernel);
        free(b->row[i].limit);
    }
    if (b->count > 0) {
        free((char *)b->context.device);
        free((char *)b->context.driver);
        free((char *)b->context.kernels);
        free((char *)b->context.clock_source);
        free((char *)b->context.memory_source);
    }
    for (size_t i = 0; i < sizeof b->limit_names / sizeof *b->limit_names; i++) free(b->limit_names[i]);
    free(b->row);
    *b = (BenchRows){0};
}

/* ---------------------------------------------------------------------------------------------------------------- head */

/* What the numbers depend on, a line each. */
static void print_head(const Bench *b, FILE *f)
{
    const upres_bench_context *c = &b->rows.context;
    fprintf(f, "upres %s%s%s, %s\n", upres_version(), upres_commit[0] ? ", commit " : "", upres_commit, b->date);
    fprintf(f, "device: %s\n", c->device);
    if (c->emulated) fputs("        an EMULATOR of a GPU: it computes the same, but its times mean nothing\n", f);
    if (c->driver[0]) fprintf(f, "driver: %s\nkernels: %s\n", c->driver, c->kernels);
    if (c->clock_ghz > 0) fprintf(f, "clock: %.3f GHz (%s)\n", c->clock_ghz, c->clock_source);
    if (c->bytes_per_second > 0) fprintf(f, "memory: %.1f GB/s (%s)\n", c->bytes_per_second * 1e-9, c->memory_source);
    for (size_t i = 0; i < c->limit_count; i++)
        fprintf(f, "%s%s %.2f TFLOP/s (%.0f FLOP a clock)", i == 0 ? "limits: " : ", ", c->limit[i].name,
                c->limit[i].flop_per_second * 1e-12, c->limit[i].flop_per_clock);
    fprintf(f, "%scold: %s\n\n", c->limit_count > 0 ? "\n" : "", COLD_IS);
}

static void json_field(const char *name, const char *text)
{
    printf(",\"%s\":", name);
    json_string(stdout, text);
}

/* Members of a library whose readers know num_cpus, mhz_per_cpu and the like. */
static void print_json_context(const Bench *b)
{
    const upres_bench_context *c = &b->rows.context;
    const bool cpu = c->driver[0] == '\0';
    printf("{\"context\":{\"date\":\"%s\",\"executable\":\"upres\"", b->date);
    if (cpu) printf(",\"num_cpus\":%" PRId32 ",\"mhz_per_cpu\":%.0f", c->units, c->clock_ghz * 1e3);
    json_field("library_version", upres_version());
    json_field("library_build_type", "release");
    json_field("commit", upres_commit);
    json_field("device", c->device);
    json_field("driver", c->driver);
    json_field("kernels", c->kernels);
    printf(",\"emulated\":%s,\"units\":%" PRId32 ",\"clock_hz\":%.6g", c->emulated ? "true" : "false", c->units,
           c->clock_ghz * 1e9);
    json_field("clock_source", c->clock_source);
    printf(",\"memory_bytes_per_second\":%.6g", c->bytes_per_second);
    json_field("memory_source", c->memory_source);
    printf(",\"cache_bytes\":%" PRIu64 ",\"limits\":[", c->cache_bytes);
    for (size_t i = 0; i < c->limit_count; i++) {
        printf("%s{\"name\":", i > 0 ? "," : "");
        json_string(stdout, c->limit[i].name);
        printf(",\"flop_per_clock\":%.6g,\"flop_per_second\":%.6g}", c->limit[i].flop_per_clock, c->limit[i].flop_per_second);
    }
    putchar(']');
    json_field("cold", COLD_IS);
    fputs(",\"json_schema_version\":1},\"benchmarks\":[", stdout);
}

/* --------------------------------------------------------------------------------------------------------------- rows out */

/* A counter, where it is known. */
static void json_counter(const char *name, double value)
{
    if (value >= 0) printf(",\"%s\":%.9g", name, value);
}

static void print_json(const Bench *b, const BenchRow *r)
{
    if (b->rows.count == 1) print_json_context(b);
    char *name = new_text("%s/%s", r->name, r->version);
    printf("%s\n{\"name\":", b->rows.count > 1 ? "," : "");
    json_string(stdout, name);
    json_field("run_name", name);
    free(name);
    printf(",\"run_type\":\"iteration\",\"repetitions\":1,\"repetition_index\":0,\"threads\":1,\"iterations\":%d"
           ",\"real_time\":%.9g,\"cpu_time\":%.9g,\"time_unit\":\"ns\",\"spread\":%.4g",
           r->runs, r->seconds * 1e9, (r->cpu >= 0 ? r->cpu : r->seconds) * 1e9, r->spread);
    json_counter("cold_time", r->cold >= 0 ? r->cold * 1e9 : -1);
    json_counter("FLOPS", r->flops);
    json_counter("bytes_per_second", r->bytes_per_second);
    json_counter("flop", r->flop > 0 ? r->flop : -1);
    json_counter("bytes", r->bytes > 0 ? r->bytes : -1);
    json_counter("flop_per_clock_per_unit", r->per_clock);
    json_counter("flop_limit_percent", r->of_flops >= 0 ? 100 * r->of_flops : -1);
    json_counter("memory_limit_percent", r->of_memory >= 0 ? 100 * r->of_memory : -1);
    if (r->limit[0]) json_field("limit", r->limit);
    if (r->kernel[0]) json_field("label", r->kernel);
    putchar('}');
}

/* A comma, and the value where it is known. */
static void csv_value(double value)
{
    putchar(',');
    if (value >= 0) printf("%.9g", value);
}

static void print_csv(const Bench *b, const BenchRow *r)
{
    if (b->rows.count == 1) {
        print_head(b, stderr);
        puts("name,version,kernel,runs,seconds,spread,cold_seconds,cpu_seconds,flop,bytes,tflops,gbytes_per_second,"
             "flop_per_clock_per_unit,limit,flop_limit_percent,memory_limit_percent");
    }
    printf("\"%s\",%s,%s,%d,%.9g,%.4g", r->name, r->version, r->kernel, r->runs, r->seconds, r->spread);
    csv_value(r->cold);
    csv_value(r->cpu);
    csv_value(r->flop > 0 ? r->flop : -1);
    csv_value(r->bytes > 0 ? r->bytes : -1);
    csv_value(r->flops >= 0 ? r->flops * 1e-12 : -1);
    csv_value(r->bytes_per_second >= 0 ? r->bytes_per_second * 1e-9 : -1);
    csv_value(r->per_clock);
    printf(",%s", r->limit);
    csv_value(r->of_flops >= 0 ? 100 * r->of_flops : -1);
    csv_value(r->of_memory >= 0 ? 100 * r->of_memory : -1);
    putchar('\n');
}

/* Four digits, or a dash. */
static const char *number(char text[24], double value)
{
    if (value < 0) snprintf(text, 24, "-");
    else if (value < 1e-3 && value > 0) snprintf(text, 24, "%.1e", value);
    else snprintf(text, 24, "%.*f", value < 1 ? 4 : value < 10 ? 3 : value < 100 ? 2 : value < 1000 ? 1 : 0, value);
    return text;
}

/* How near the nearest of its limits is: "87 % bf16 mma". */
static void nearest_limit(const BenchRow *r, char *text, size_t size)
{
    text[0] = '\0';
    if (r->of_flops < 0 && r->of_memory < 0) return;
    if (r->of_flops >= r->of_memory) snprintf(text, size, "%3.0f %% %s", 100 * r->of_flops, r->limit);
    else snprintf(text, size, "%3.0f %% memory", 100 * r->of_memory);
}

/* Versions of one case stand below one another under one name. */
static void print_table(const Bench *b, const BenchRow *r)
{
    char warm[24], cold[24], flops[24], bytes[24], clock[24], limit[64];
    if (b->rows.count == 1) {
        print_head(b, stdout);
        printf("%-42s %-20s %11s %7s %11s %8s %8s %8s  %s\n", "name", "version", "ms", "spread", "cold ms", "TFLOP/s", "GB/s",
               b->rows.context.driver[0] ? "/clk/SM" : "/clk", "of its limit");
    }
    const bool again = b->rows.count > 1 && strcmp(r->name, r[-1].name) == 0;
    nearest_limit(r, limit, sizeof limit);
    printf("%-42s %-20s %11s %6.1f%% %11s %8s %8s %8s  %s\n", again ? "" : r->name, r->version, number(warm, r->seconds * 1e3),
           r->spread * 100, number(cold, r->cold >= 0 ? r->cold * 1e3 : -1),
           number(flops, r->flops >= 0 ? r->flops * 1e-12 : -1),
           number(bytes, r->bytes_per_second >= 0 ? r->bytes_per_second * 1e-9 : -1), number(clock, r->per_clock), limit);
}

static int print_result(void *user, const upres_bench_result *result)
{
    Bench *b = user;
    rows_add(&b->rows, result);
    const BenchRow *r = &b->rows.row[b->rows.count - 1];
    if (b->job->json) print_json(b, r);
    else if (b->job->csv) print_csv(b, r);
    else print_table(b, r);
    fflush(stdout);
    return signals_caught() != 0 || ferror(stdout);
}

/* ---------------------------------------------------------------------------------------------------------------- verb */

static bool write_plot(const Bench *b, OutputFile *f, Problem *p)
{
    char *svg = bench_plot_svg(&b->rows, b->date);
    const bool fine = writefile_put(f, 0, svg, strlen(svg), p) && writefile_commit(f, p);
    free(svg);
    return fine;
}

static bool run(Bench *b, OutputFile *plot, Problem *p)
{
    const Job *job = b->job;
    const char *pattern = job->operand_count > 0 ? job->operands[0] : NULL;
    signals_catch();
    const upres_status s = upres_bench(&job->library, pattern, b, print_result);
    if (job->json && b->rows.count > 0) puts("\n]}");
    if (signals_caught() != 0)
        return problem(p, 128 + signals_caught(), "stopped by a signal after %zu measurements", b->rows.count);
    if (ferror(stdout)) return true; /* console_finish() tells, once and for every verb */
    if (s != UPRES_OK) return problem_library(p, s);
    return job->plot == NULL || write_plot(b, plot, p);
}

static bool bench(Job *job, int argc, char **argv, Problem *p)
{
    bool skip;
    if (!job_parse(job, VERB_BENCH, argc, argv, p)) return false;
    if (job->help) {
        verb_usage(VERB_BENCH);
        return true;
    }
    if (job->operand_count > 1)
        return problem(p, EXIT_USAGE, "unexpected argument \"%s\"; bench takes one pattern", job->operands[1]);
    if (job->json && job->csv)
        return problem(p, EXIT_USAGE, "--json and --csv contradict each other; give one of them");
    if (job->plot != NULL && !path_ends_with(job->plot, ".svg"))
        return problem(p, EXIT_USAGE, "invalid value \"%s\" for --plot: expected a name that ends in .svg", job->plot);
    if (job->plot != NULL && !output_file_check(job->plot, job, &skip, p)) return false;
    Bench b = {.job = job};
    OutputFile plot = {.handle = -1};
    clock_date(b.date, sizeof b.date);
    bool fine = job->plot == NULL || writefile_create(&plot, job->plot, p);
    fine = fine && run(&b, &plot, p);
    writefile_abandon(&plot);
    rows_free(&b.rows);
    return fine;
}

int verb_bench(int argc, char **argv)
{
    return job_run(bench, argc, argv);
}
