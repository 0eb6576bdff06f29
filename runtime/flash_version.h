/*
 * FlashVSR 1 or 1.1? The two have the same tensors and differ in a rule, so something beside the tensors must tell.
 */
#ifndef UPRES_RUNTIME_FLASH_VERSION_H
#define UPRES_RUNTIME_FLASH_VERSION_H

#include "loader/weights.h"
#include "runtime/upres.h"

/*
 * In this order: the option; metadata of the two files (a key that ends in "version" with the value 1 or 1.1, a leading
 * v allowed; the projection's file first); their paths (1.1, v1); else 1.1. said: a buffer that receives "FlashVSR 1.1,
 * ...". Returns UPRES_FLASHVSR_1 or UPRES_FLASHVSR_1_1.
 */
upres_flashvsr_version flash_version(upres_flashvsr_version option, const WeightPart *lq, const WeightPart *dit,
                                     char *said, size_t said_size);

#endif
