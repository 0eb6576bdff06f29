/*
 * Noise by position: normal deviates that depend on seed, stream, frame, place and channel alone, never on the size of
 * a picture, on tiles, batches or threads. Counter-based generator Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011,
 * "Parallel random numbers: as easy as 1, 2, 3"), normals by Box and Muller in double with
 * functions of our own, rounded once: the same bits on every machine and GPU.
 *
 * Key: the seed's low and high half. Counter: (x * Q + channel / 4, y, frame as 32 bits, stream), Q = ceil(channels /
 * 4); the four results are channels 4q .. 4q + 3. Everything here is a pure function; any thread.
 */
#ifndef UPRES_KERNELS_CPU_NOISE_H
#define UPRES_KERNELS_CPU_NOISE_H

#include <stddef.h>
#include <stdint.h>

/* Streams. 4 is reserved for sampling the encoder's posterior. */
enum { NOISE_BASE = 0, NOISE_AUGMENT = 1, NOISE_INPUT = 2, NOISE_DITHER = 3 };

void philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* Four uniform words to four standard normals: pairs (0, 1) and (2, 3). */
void box_muller(const uint32_t words[4], float out[4]);

/* Rows y0 .. y0 + h - 1, columns x0 .. x0 + w - 1 of one frame: out [h][w][channels]. frame may be negative. */
void position_noise(uint64_t seed, uint32_t stream, int64_t frame, int y0, int x0, int h, int w, int channels,
                    float *out);

/*
 * Noise on the encoder's input, in place: x [3][h][w] signed; x * (1 - b) + (x + 0.05 n) * b with b = scale / 2, n of
 * stream NOISE_INPUT. Not clamped. scale 0..1; at 0 x stays as it is.
 */
void input_noise(float *x, int h, int w, double scale, uint64_t seed, int64_t frame);
/* Row `row` of it, scale > 0: x [w], and the other two channels `plane` and 2 * plane floats behind. */
void input_noise_row(float *x, size_t plane, int w, int row, double scale, uint64_t seed, int64_t frame);

#endif
