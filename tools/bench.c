/* upres bench: times of kernels, networks and phases, as a table, CSV, or JSON in the form of google/benchmark. */
#include <inttypes.h>
#include <stdlib.h>

#include "tools/json_out.h"
#include "tools/options.h"
#include "tools/platform.h"
#include "tools/verbs.h"

typedef struct Bench {
    const Job *job;
    size_t count;
} Bench;

/* The context says what the numbers depend on, and only then do measurements begin. */
static void print_context(void)
{
    upres_device_info d = {.struct_size = sizeof d};
    char date[40];
    clock_date(date, sizeof date);
    printf("{\"context\":{\"date\":\"%s\",\"executable\":\"upres\",\"library_version\":", date);
    json_string(stdout, upres_version());
    fputs(",\"device\":", stdout);
    json_string(stdout, upres_device(0, &d) == UPRES_OK ? d.name : "");
    fputs(",\"json_schema_version\":1},\"benchmarks\":[", stdout);
}

static int print_result(void *user, const upres_bench_result *r)
{
    Bench *b = user;
    double gflops = r->seconds > 0 ? r->flop / r->seconds * 1e-9 : 0,
           gbytes = r->seconds > 0 ? r->bytes / r->seconds * 1e-9 : 0;
    if (b->job->json) {
        printf("%s{\"name\":", b->count > 0 ? "," : "");
        char *name = new_text("%s/%s", r->name, r->version);
        json_string(stdout, name);
        fputs(",\"run_name\":", stdout);
        json_string(stdout, name);
        free(name);
        /* one clock is read; what threads spent is not known apart */
        printf(
            ",\"run_type\":\"iteration\",\"repetitions\":1,\"repetition_index\":0,\"threads\":1,\"iterations\":%" PRId32
            ",\"real_time\":%.17g,\"cpu_time\":%.17g,\"time_unit\":\"ns\",\"spread\":%.6g,\"FLOPS\":%.17g,"
            "\"bytes_per_second\":%.17g}",
            r->runs, r->seconds * 1e9, r->seconds * 1e9, r->spread, gflops * 1e9, gbytes * 1e9);
    } else if (b->job->csv) {
        if (b->count == 0) puts("name,version,runs,seconds,spread,gflops,gbytes_per_second");
        printf("\"%s\",%s,%" PRId32 ",%.9g,%.4g,%.6g,%.6g\n", r->name, r->version, r->runs, r->seconds, r->spread,
               gflops, gbytes);
    } else {
        if (b->count == 0)
            printf("%-52s %-8s %12s %8s %10s %9s\n", "name", "version", "ms", "spread", "GFLOP/s", "GB/s");
        printf("%-52s %-8s %12.3f %7.1f%% %10.1f %9.2f\n", r->name, r->version, r->seconds * 1e3, r->spread * 100,
               gflops, gbytes);
    }
    b->count++;
    fflush(stdout);
    return signals_caught() != 0 || ferror(stdout);
}

static bool bench(Job *job, int argc, char **argv, Problem *p)
{
    if (!job_parse(job, VERB_BENCH, argc, argv, p)) return false;
    if (job->help) {
        verb_usage(VERB_BENCH);
        return true;
    }
    if (job->operand_count > 1)
        return problem(p, EXIT_USAGE, "unexpected argument \"%s\"; bench takes one pattern", job->operands[1]);
    if (job->json && job->csv)
        return problem(p, EXIT_USAGE, "--json and --csv contradict each other; give one of them");
    Bench b = {.job = job};
    const char *pattern = job->operand_count > 0 ? job->operands[0] : NULL;
    signals_catch();
    if (job->json) print_context();
    upres_status s = upres_bench(&job->library, pattern, &b, print_result);
    if (job->json) puts("]}");
    if (signals_caught() != 0)
        return problem(p, 128 + signals_caught(), "stopped by a signal after %zu measurements", b.count);
    if (ferror(stdout)) return true; /* console_finish() tells, once and for every verb */
    if (s != UPRES_OK) return problem_library(p, s);
    return b.count > 0 || problem(p, EXIT_USAGE, "no benchmark fits \"%s\"", pattern != NULL ? pattern : "*");
}

int verb_bench(int argc, char **argv)
{
    Job job;
    Problem p;
    int status = bench(&job, argc, argv, &p) ? EXIT_FINE : console_fail(&job.console, &p);
    job_free(&job);
    return status;
}
