/*
 * A job: source frames in, results out, with the networks, memory and reports that belong to it. The pixels' way is
 * pipeline.h with SeedVR2, stream_pipeline.h with FlashVSR; the public functions upres_session_* hand over to these
 * after looking at their arguments.
 */
#ifndef UPRES_RUNTIME_SESSION_H
#define UPRES_RUNTIME_SESSION_H

#include "loader/weights.h"
#include "runtime/options.h"

/* Options checked, clip complete. Errors as upres_session_open. */
upres_status session_open(upres_session **out, const WeightSet *w, const upres_options *o, const upres_clip *clip,
                          Fault *f);
void session_close(upres_session *s);
void session_form(const upres_session *s, int32_t *width, int32_t *height, int32_t *channels, int32_t *bits);
upres_status session_select(upres_session *s, int64_t first, int64_t last, Fault *f);
int64_t session_wants(const upres_session *s);
upres_status session_push(upres_session *s, const upres_frame *frame, Fault *f);
upres_status session_cut(upres_session *s, Fault *f);
upres_status session_drain(upres_session *s, Fault *f);
upres_status session_pull(upres_session *s, upres_frame *out, Fault *f);
int64_t session_latency(const upres_session *s);

/* Sides, channels, bits and length of a clip within what is served. */
upres_status session_check_clip(const upres_clip *clip, Fault *f);

#endif
