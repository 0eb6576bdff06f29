/* upres compare: how much two pictures or clips differ. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/io_png.h"
#include "tools/json_out.h"
#include "tools/options.h"
#include "tools/platform.h"
#include "tools/sequence.h"
#include "tools/verbs.h"

/* One frame as float planes in [0, 1]: [channels][height][width]. */
typedef struct Planes {
    PngForm form;
    float *data;
} Planes;

static bool read_planes(const char *path, Planes *f, Problem *p)
{
    void *pixels;
    f->data = NULL;
    if (!png_read(path, &f->form, &pixels, p)) return false;
    size_t count = (size_t)f->form.width * (size_t)f->form.height, channels = (size_t)f->form.channels;
    f->data = need_memory(count * channels * sizeof *f->data);
    for (size_t i = 0; i < count * channels; i++) {
        float v =
            f->form.bits == 16 ? (float)((uint16_t *)pixels)[i] / 65535.0f : (float)((uint8_t *)pixels)[i] / 255.0f;
        f->data[i % channels * count + i / channels] = v;
    }
    free(pixels);
    return true;
}

static double mean_square_error(const Planes *a, const Planes *b)
{
    size_t count = (size_t)a->form.width * (size_t)a->form.height * (size_t)a->form.channels;
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        double d = (double)a->data[i] - (double)b->data[i];
        sum += d * d;
    }
    return sum / (double)count;
}

/* Absolute differences, in codes of 8 bits. */
static void differences(const Planes *a, const Planes *b, double *mean, double *most)
{
    size_t count = (size_t)a->form.width * (size_t)a->form.height * (size_t)a->form.channels;
    *mean = *most = 0;
    for (size_t i = 0; i < count; i++) {
        double d = 255 * fabs((double)a->data[i] - (double)b->data[i]);
        *mean += d / (double)count;
        if (d > *most) *most = d;
    }
}

static double psnr_of(double mse)
{
    return mse > 0 ? -10 * log10(mse) : INFINITY;
}

/* ------------------------------------------------------------------------------------------------------------- SSIM */

enum { WINDOW = 11, MOMENTS = 5 }; /* sums of a, b, a a, b b, a b */

/*
 * Structural similarity of one plane (Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, "Image quality assessment:
 * from error visibility to structural similarity", IEEE Transactions on Image Processing 13(4), 2004): Gaussian windows
 * of 11 x 11, sigma 1.5, K1 = 0.01, K2 = 0.03, mean over the windows that lie inside the picture. Needs width and
 * height of at least 11.
 */
static double plane_ssim(const float *a, const float *b, int32_t width, int32_t height)
{
    double g[WINDOW], total = 0;
    for (int i = 0; i < WINDOW; i++) total += g[i] = exp(-(i - WINDOW / 2) * (i - WINDOW / 2) / (2 * 1.5 * 1.5));
    for (int i = 0; i < WINDOW; i++) g[i] /= total;
    int32_t across = width - WINDOW + 1;
    size_t row_size = (size_t)across * MOMENTS;
    /* rows filtered along x, the last WINDOW of them in turn */
    double *rows = need_memory(WINDOW * row_size * sizeof *rows);
    const double c1 = 0.01 * 0.01, c2 = 0.03 * 0.03;
    double sum = 0;
    for (int32_t y = 0; y < height; y++) {
        double *row = rows + (size_t)(y % WINDOW) * row_size;
        memset(row, 0, row_size * sizeof *row);
        for (int32_t x = 0; x < across; x++) {
            for (int i = 0; i < WINDOW; i++) {
                double u = a[(size_t)y * (size_t)width + (size_t)(x + i)],
                       v = b[(size_t)y * (size_t)width + (size_t)(x + i)];
                const double m[MOMENTS] = {u, v, u * u, v * v, u * v};
                for (int k = 0; k < MOMENTS; k++) row[x * MOMENTS + k] += g[i] * m[k];
            }
        }
        if (y < WINDOW - 1) continue;
        for (int32_t x = 0; x < across; x++) {
            double m[MOMENTS] = {0};
            for (int i = 0; i < WINDOW; i++) {
                const double *r = rows + (size_t)((y + 1 + i) % WINDOW) * row_size + x * MOMENTS;
                for (int k = 0; k < MOMENTS; k++) m[k] += g[i] * r[k];
            }
            double va = m[2] - m[0] * m[0], vb = m[3] - m[1] * m[1], cov = m[4] - m[0] * m[1];
            sum += (2 * m[0] * m[1] + c1) * (2 * cov + c2) / ((m[0] * m[0] + m[1] * m[1] + c1) * (va + vb + c2));
        }
    }
    free(rows);
    return sum / ((double)across * (double)(height - WINDOW + 1));
}

/* Mean over the channels; NaN for pictures smaller than a window. */
static double ssim(const Planes *a, const Planes *b)
{
    const PngForm *f = &a->form;
    if (f->width < WINDOW || f->height < WINDOW) return NAN;
    size_t plane = (size_t)f->width * (size_t)f->height;
    double sum = 0;
    for (int32_t c = 0; c < f->channels; c++)
        sum += plane_ssim(a->data + (size_t)c * plane, b->data + (size_t)c * plane, f->width, f->height);
    return sum / f->channels;
}

/* --------------------------------------------------------------------------------------------------- side by side */

enum { SEPARATOR = 4 }; /* pixels, mid-grey */

static bool write_side_by_side(const char *path, const Planes *a, const Planes *b, Problem *p)
{
    const PngForm *f = &a->form;
    const PngForm out = {2 * f->width + SEPARATOR, f->height, f->channels, f->bits};
    const float largest = f->bits == 16 ? 65535.0f : 255.0f;
    void *pixels = need_memory(png_row_bytes(&out) * (size_t)out.height);
    for (int32_t y = 0; y < out.height; y++) {
        for (int32_t x = 0; x < out.width; x++) {
            const Planes *from = x < f->width ? a : x >= f->width + SEPARATOR ? b : NULL;
            int32_t column = from == b ? x - f->width - SEPARATOR : x;
            for (int32_t c = 0; c < out.channels; c++) {
                float v = 0.5f;
                if (from != NULL)
                    v = from->data[((size_t)c * (size_t)f->height + (size_t)y) * (size_t)f->width + (size_t)column];
                size_t to = ((size_t)y * (size_t)out.width + (size_t)x) * (size_t)out.channels + (size_t)c;
                if (out.bits == 16)
                    ((uint16_t *)pixels)[to] = (uint16_t)(v * largest + 0.5f);
                else
                    ((uint8_t *)pixels)[to] = (uint8_t)(v * largest + 0.5f);
            }
        }
    }
    bool fine = png_write(path, &out, pixels, (ptrdiff_t)png_row_bytes(&out), NULL, p);
    free(pixels);
    return fine;
}

/* ----------------------------------------------------------------------------------------------------------- the verb
 */

typedef struct Figures {
    double mse, psnr, ssim; /* psnr: of identical pictures infinite; ssim: NaN where there is none */
    double difference, most;
} Figures;

static void print_figures(double psnr, double similarity)
{
    if (isinf(psnr))
        fputs("PSNR inf dB", stdout);
    else
        printf("PSNR %.2f dB", psnr);
    if (!isnan(similarity)) printf(" SSIM %.4f", similarity);
}

static bool measure(const Job *job, const Sequence *a, const Sequence *b, size_t i, Figures *f, Problem *p)
{
    Planes x = {.data = NULL}, y = {.data = NULL};
    bool fine = read_planes(a->frames[i].path, &x, p) && read_planes(b->frames[i].path, &y, p);
    if (fine && i == 0 && job->output != NULL) fine = write_side_by_side(job->output, &x, &y, p);
    if (fine) {
        f->mse = mean_square_error(&x, &y);
        f->psnr = psnr_of(f->mse);
        f->ssim = ssim(&x, &y);
        differences(&x, &y, &f->difference, &f->most);
    }
    free(x.data);
    free(y.data);
    return fine;
}

static Figures means(const Figures *f, size_t count)
{
    Figures sum = {0};
    for (size_t i = 0; i < count; i++) {
        sum.mse += f[i].mse;
        sum.psnr += f[i].psnr;
        sum.ssim += f[i].ssim;
        sum.difference += f[i].difference;
        if (f[i].most > sum.most) sum.most = f[i].most;
    }
    return (Figures){sum.mse / (double)count, sum.psnr / (double)count, sum.ssim / (double)count,
                     sum.difference / (double)count, sum.most};
}

static void json_figures(const char *psnr_name, double psnr, const char *ssim_name, double similarity)
{
    printf(",\"%s\":", psnr_name);
    json_number(stdout, psnr);
    printf(",\"%s\":", ssim_name);
    json_number(stdout, similarity);
}

static void json_differences(const Figures *f)
{
    fputs(",\"mean_abs\":", stdout);
    json_number(stdout, f->difference);
    fputs(",\"max_abs\":", stdout);
    json_number(stdout, f->most);
}

static void print_json(const Sequence *a, const Sequence *b, const Figures *f, const Figures *mean)
{
    printf("{\"type\":\"result\",\"verb\":\"compare\",\"identical\":%s", mean->mse > 0 ? "false" : "true");
    json_figures("mean_psnr", mean->psnr, "mean_ssim", mean->ssim);
    fputs(",\"pooled_psnr\":", stdout);
    json_number(stdout, psnr_of(mean->mse));
    json_differences(mean);
    fputs(",\"ssim_window\":\"gaussian 11x11, sigma 1.5\",\"frames\":[", stdout);
    for (size_t i = 0; i < a->count; i++) {
        printf("%s{\"a\":", i > 0 ? "," : "");
        json_string(stdout, a->frames[i].path);
        fputs(",\"b\":", stdout);
        json_string(stdout, b->frames[i].path);
        json_figures("psnr", f[i].psnr, "ssim", f[i].ssim);
        json_differences(&f[i]);
        putchar('}');
    }
    puts("]}");
}

static void print_text(const Sequence *a, const Figures *f, const Figures *mean)
{
    for (size_t i = 0; i < a->count; i++) {
        printf("%s ", path_base(a->frames[i].path));
        print_figures(f[i].psnr, f[i].ssim);
        putchar('\n');
    }
    fputs("mean ", stdout);
    print_figures(mean->psnr, mean->ssim);
    printf(" over %zu frame%s\npooled ", a->count, a->count == 1 ? "" : "s");
    print_figures(psnr_of(mean->mse), NAN);
    printf(", codes of 255 differ by %.3f in the mean and %.1f at most", mean->difference, mean->most);
    puts(" (of the mean square error of all frames; SSIM: Gaussian windows of 11x11, sigma 1.5)");
}

static bool open_clips(const Job *job, Sequence *a, Sequence *b, Problem *p)
{
    if (!sequence_open(a, job->operands[0], job->allow_gaps, p) || !sequence_probe(a, p)) return false;
    if (!sequence_open(b, job->operands[1], job->allow_gaps, p) || !sequence_probe(b, p)) return false;
    if (a->count != b->count)
        return problem(p, EXIT_INPUT, "%s has %zu frames, but %s has %zu; compare the same frames", job->operands[0],
                       a->count, job->operands[1], b->count);
    if (a->form.width != b->form.width || a->form.height != b->form.height || a->form.channels != b->form.channels)
        return problem(p, EXIT_INPUT, "%s: %dx%d with %d channels, but %s: %dx%d with %d; they must agree",
                       job->operands[0], a->form.width, a->form.height, a->form.channels, job->operands[1],
                       b->form.width, b->form.height, b->form.channels);
    return true;
}

static bool compare(Job *job, Sequence *a, Sequence *b, int argc, char **argv, Problem *p)
{
    bool skip;
    if (!job_parse(job, VERB_COMPARE, argc, argv, p)) return false;
    if (job->help) {
        verb_usage(VERB_COMPARE);
        return true;
    }
    if (job->operand_count != 2)
        return problem(p, EXIT_USAGE, "compare takes two pictures, folders or patterns, found %zu", job->operand_count);
    if (job->output != NULL && !path_ends_with(job->output, ".png"))
        return problem(p, EXIT_USAGE, "-o %s: the side-by-side picture is a PNG; give a name that ends with .png",
                       job->output);
    if (job->output != NULL && !output_file_check(job->output, job, &skip, p)) return false;
    if (!open_clips(job, a, b, p)) return false;
    if (job->output != NULL && !(sequence_apart(a, job->output, p) && sequence_apart(b, job->output, p))) return false;
    Figures *figures = need_memory(a->count * sizeof *figures);
    bool fine = true;
    for (size_t i = 0; i < a->count && fine; i++) fine = measure(job, a, b, i, &figures[i], p);
    if (fine) {
        Figures mean = means(figures, a->count);
        if (job->json)
            print_json(a, b, figures, &mean);
        else
            print_text(a, figures, &mean);
    }
    free(figures);
    return fine;
}

int verb_compare(int argc, char **argv)
{
    Job job;
    Sequence a = {0}, b = {0};
    Problem p;
    int status = compare(&job, &a, &b, argc, argv, &p) ? EXIT_FINE : console_fail(&job.console, &p);
    sequence_free(&a);
    sequence_free(&b);
    job_free(&job);
    return status;
}
