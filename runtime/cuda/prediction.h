/*
 * The predicted time of many launches, summed up by kernel (runtime/cuda/predict.h makes it). Empty where nothing was counted
 * when upres was built, and for devices whose clock is not known.
 */
#ifndef UPRES_RUNTIME_CUDA_PREDICTION_H
#define UPRES_RUNTIME_CUDA_PREDICTION_H

#include "runtime/dev.h"

/* What a kernel waits for. */
typedef enum Bound { BOUND_TENSOR, BOUND_ISSUE, BOUND_SHARED, BOUND_L2, BOUND_DRAM, BOUND_LATENCY, BOUND_COUNT } Bound;
const char *bound_name(Bound b); /* "tensor", "issue", ... */

enum { PREDICTION_LINES = 48 };

typedef struct PredictionLine {
    const char *function; /* lasts as long as the program */
    double launches, flop, bytes;
    double seconds;
    double limit;         /* seconds at the device's rate for what it is: products, or bytes at the nominal bandwidth */
    double published;     /* seconds where products of 8 bits stay at PREDICT_PUBLISHED of their rate */
    double bound[BOUND_COUNT]; /* seconds of the launches that each one bounds */
} PredictionLine;

/*
 * All zero at first. longest: the launch that takes longest by itself, never added up; told without counts too, then by
 * predict_at_most.
 */
typedef struct Prediction {
    int count;
    struct {
        const char *function; /* NULL: nothing was launched, or the device's clock is not known */
        double seconds;
    } longest;
    PredictionLine line[PREDICTION_LINES];
} Prediction;

/* The other's launches so many times more; where they are taken away the longest stays. */
void prediction_add(Prediction *p, const Prediction *other, double times);
PredictionLine prediction_sum(const Prediction *p);
Bound prediction_bound(const PredictionLine *l);

/* Of what was launched so far on a plan; NULL: not on a GPU. */
const Prediction *cuda_prediction(const Dev *d);

#endif
