/*
 * Which device a job runs on, found out from its options: --device, --precision, --memory.
 */
#ifndef UPRES_RUNTIME_DEVICE_H
#define UPRES_RUNTIME_DEVICE_H

#include "runtime/cuda/driver.h"
#include "runtime/dev.h"
#include "runtime/fault.h"
#include "runtime/upres.h"

/* Stays where device_choose filled it: setup points into it. */
typedef struct Device {
    DevSetup setup;
    CudaDevice cuda;  /* setup.cuda's */
    char note[512];   /* why auto took the CPU where a GPU might have been meant; "" otherwise */
} Device;

/*
 * auto is the first CUDA device that can be used, else the CPU with a note. A precision that the device lacks is refused by
 * name. UPRES_E_UNSUPPORTED with a sentence when the device asked for cannot be used.
 * With upres_options.device_model it is that one, which is good for a plan alone.
 */
bool device_choose(const upres_options *o, Device *d, Fault *f);

/*
 * Device `index` of upres_options.devices. Results are to be the same whichever device computes them, so all must be of one
 * architecture (UPRES_E_UNSUPPORTED otherwise), and where kernels come in sizes all use those that suit the first.
 */
bool device_choose_of(const upres_options *o, int index, Device *d, Fault *f);
bool device_agrees(const CudaDevice *first, CudaDevice *d, Fault *f); /* the rule itself; fits d to the first */
/* All of them; the one device where there is no list. */
bool device_choose_all(const upres_options *o, Fault *f);
/* UPRES_E_UNSUPPORTED where there is a list: for work that one device does. */
bool device_is_one(const upres_options *o, const char *work, Fault *f);

/* Did all go well on it? Its failure becomes the job's, unless that has one of its own. */
bool device_fine(const Dev *d, Fault *f);

/* Puts the device's name before the sentence of a failure that lacks it. */
void device_name_fault(const Device *d, Fault *f);

/* Says why auto took the CPU: to everybody where a driver is installed, else to those who want to know all. */
void device_log_choice(const Device *d, const upres_options *o);

/* Bytes that arena and weights must stay under: --memory, else what is free; 0: not known. For CUDA of the device. */
uint64_t device_limit(const Device *d, const upres_options *o);
/* The same after a plan of so many bytes could not be had: a fifth less, or what is free by now. */
uint64_t device_smaller_limit(const Device *d, const upres_options *o, uint64_t planned);

/* A line of the log on the kernels loaded so far, where there are more than `told`, which the last line was about. */
void device_log_kernels(const upres_options *o, const DevTotals *t, unsigned *told);

#endif
