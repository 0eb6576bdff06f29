/*
 * Options: defaults, ranges, contradictions, and the few values that follow from others.
 */
#ifndef UPRES_RUNTIME_OPTIONS_H
#define UPRES_RUNTIME_OPTIONS_H

#include "runtime/fault.h"

/* Copy a caller's options of any age over the defaults and check them. Errors: UPRES_E_ARGUMENT, UPRES_E_UNSUPPORTED;
 * the sentence names the option as the command spells it, the value and the range. */
upres_status options_take(upres_options *out, const upres_options *given, Fault *f);

/* Once the network is known: put its own defaults where nothing was given, refuse what belongs to the other one.
 * Errors: UPRES_E_ARGUMENT naming the option. */
upres_status options_for_seedvr2(upres_options *o, Fault *f);
upres_status options_for_flashvsr(upres_options *o, Fault *f);

/* The overlap in use for a tile of this side: as given, or the automatic one. */
int options_tile_overlap(int32_t tile, int32_t overlap);

/* Bits of the results for a clip, and whether they are dithered. */
int options_bits(const upres_options *o, int clip_bits);
int options_dither(const upres_options *o, int clip_bits);

/* Log a sentence through the caller's callback, if there is one. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
void options_log(const upres_options *o, upres_log_level level, const char *format, ...);

/* "bf16" of a UPRES_PRECISION_*. */
const char *options_precision_name(int32_t precision);

#endif
