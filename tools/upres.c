/* The upres command: finds the verb and hands over. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "runtime/upres.h"
#include "tools/console.h"
#include "tools/json_out.h"
#include "tools/options.h"
#include "tools/platform.h"
#include "tools/verbs.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} verbs[] = {
    {"upscale", verb_upscale},           {"encode", verb_encode}, {"decode", verb_decode},   {"info", verb_info},
    {"convert", verb_convert},           {"plan", verb_plan},     {"compare", verb_compare}, {"bench", verb_bench},
    {"demo-weights", verb_demo_weights}, {"selftest", verb_selftest}, {"completion", verb_completion},
};

enum { VERB_COUNT = sizeof verbs / sizeof verbs[0] };

static const char usage[] =
    "usage: upres -i IN -o OUT -m FILE [-m FILE ...] [options]    upscale pictures and clips\n"
    "       upres encode | decode -m VAE -i IN -o OUT [options]   frames <-> latents\n"
    "       upres info FILE [--json] [--checksums]                what a weight file holds\n"
    "       upres convert IN... -o OUT.gguf [--type TYPE]         merge weight files into one GGUF\n"
    "       upres plan [upscale|encode|decode] (their options)    sizes, tiles, memory, time; computes nothing\n"
    "       upres compare A B [--json] [-o SIDE-BY-SIDE.png]      PSNR and SSIM\n"
    "       upres bench [PATTERN] [--json|--csv] [--plot FILE]    time kernels, networks and phases\n"
    "       upres selftest [--device D] [--report FILE]           every kernel against the plain C one\n"
    "       upres demo-weights seedvr2|flashvsr -o FILE           constructed weights to try the program with\n"
    "       upres completion bash|zsh|fish                        for the shell: verbs, options, values\n"
    "       upres --version | --list-devices [--json] | -h | VERB -h\n"
    "\n"
    "IN is a PNG picture, a folder of them, or a pattern like in/%06d.png; \"upres upscale -h\" lists the options.\n";

/* Of each device an object a line with --json, as the results of verbs. */
static void print_device(const Console *c, const upres_device_info *d)
{
    if (!c->json) {
        printf("%s  %.1f GiB, %.1f free\n", d->name, (double)d->memory_bytes / (1 << 30), (double)d->free_bytes / (1 << 30));
        return;
    }
    fputs("{\"type\":\"result\",\"verb\":\"list-devices\",\"device\":", stdout);
    if (d->device >= 0)
        printf("\"cuda:%d\"", (int)d->device);
    else
        fputs("\"cpu\"", stdout);
    fputs(",\"name\":", stdout);
    json_string(stdout, d->name);
    printf(",\"memory_bytes\":%" PRIu64 ",\"free_bytes\":%" PRIu64 "}\n", d->memory_bytes, d->free_bytes);
}

static int list_devices(Console *c)
{
    for (size_t i = 0; i < upres_device_count(); i++) {
        upres_device_info d = {.struct_size = sizeof d};
        upres_status s = upres_device(i, &d);
        if (s != UPRES_OK) {
            Problem p;
            problem_library(&p, s);
            return console_fail(c, &p);
        }
        print_device(c, &d);
    }
    return EXIT_FINE;
}

static int unknown_verb(Console *c, const char *name)
{
    const char *names[VERB_COUNT + 1] = {NULL};
    for (int i = 0; i < VERB_COUNT; i++) names[i] = verbs[i].name;
    const char *near = nearest_word(name, names);
    Problem p;
    if (near != NULL)
        problem(&p, EXIT_USAGE, "unknown verb \"%s\"; did you mean %s?", name, near);
    else
        problem(&p, EXIT_USAGE, "unknown verb \"%s\"; \"upres -h\" lists the verbs", name);
    return console_fail(c, &p);
}

static int run(Console *c, int argc, char **argv)
{
    if (argc < 2) {
        fputs(usage, stderr);
        return EXIT_USAGE;
    }
    const char *first = argv[1];
    if (strcmp(first, "-h") == 0 || strcmp(first, "--help") == 0) {
        fputs(usage, stdout);
        return EXIT_FINE;
    }
    const bool version = strcmp(first, "--version") == 0, devices = strcmp(first, "--list-devices") == 0;
    for (int i = 2; i < argc && (version || devices); i++) {
        Problem p;
        c->json |= devices && strcmp(argv[i], "--json") == 0;
        if (devices && strcmp(argv[i], "--json") == 0) continue;
        problem(&p, EXIT_USAGE, "unexpected argument \"%s\" after %s; leave it out", argv[i], first);
        return console_fail(c, &p);
    }
    if (version) {
        printf("upres %s (interface %" PRIu32 ")\n", upres_version(), upres_api_version());
        return EXIT_FINE;
    }
    if (devices) return list_devices(c);
    if (first[0] == '-') return verb_upscale(argc, argv);
    for (int i = 0; i < VERB_COUNT; i++) {
        if (strcmp(first, verbs[i].name) == 0) return verbs[i].run(argc - 1, argv + 1);
    }
    return unknown_verb(c, first);
}

int main(int argc, char **argv)
{
    Console c = {0};
    platform_start(&argc, &argv);
    return console_finish(&c, run(&c, argc, argv));
}
