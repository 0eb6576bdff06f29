#include "runtime/thread.h"

#include "runtime/sync.h"

#include <stdatomic.h>
#include <stdlib.h>

#ifdef _WIN32
int cpu_count(void)
{
    return (int)GetActiveProcessorCount(ALL_PROCESSOR_GROUPS);
}
#else
#include <sched.h>
#include <unistd.h>

int cpu_count(void)
{
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}
#endif

typedef struct Worker {
    Pool *pool;
    int index;
    Thread thread;
} Worker;

struct Pool {
    int threads, started;
    Worker *workers; /* threads - 1 of them: the caller is the last */
    Lock lock;
    Signal begin, end;
    uint64_t round;  /* grows with each pool_run: a worker's cue to look */
    int busy;        /* workers that have not finished this round */
    bool quit;
    void (*turn)(void *, int64_t, int);
    void *context;
    int64_t count;
    atomic_llong next;
};

static void take_turns(Pool *p, int thread)
{
    for (;;) {
        int64_t i = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed);
        if (i >= p->count) return;
        p->turn(p->context, i, thread);
    }
}

static THREAD_RESULT work(void *argument)
{
    Worker *w = argument;
    Pool *p = w->pool;
    uint64_t seen = 0;
    lock_take(&p->lock);
    for (;;) {
        while (p->round == seen && !p->quit) signal_wait(&p->begin, &p->lock);
        if (p->quit) break;
        seen = p->round;
        lock_give(&p->lock);
        take_turns(p, w->index);
        lock_take(&p->lock);
        if (--p->busy == 0) signal_all(&p->end);
    }
    lock_give(&p->lock);
    return 0;
}

Pool *pool_open(int threads)
{
    Pool *p = calloc(1, sizeof *p);
    if (p == NULL) return NULL;
    p->threads = threads < 1 ? 1 : threads;
    p->workers = calloc((size_t)p->threads, sizeof *p->workers);
    lock_init(&p->lock);
    signal_init(&p->begin);
    signal_init(&p->end);
    if (p->workers == NULL) {
        pool_close(p);
        return NULL;
    }
    for (int i = 0; i < p->threads - 1; i++) {
        p->workers[i].pool = p;
        p->workers[i].index = i;
        if (!thread_start(&p->workers[i].thread, work, &p->workers[i])) {
            pool_close(p);
            return NULL;
        }
        p->started++;
    }
    return p;
}

void pool_close(Pool *p)
{
    if (p == NULL) return;
    lock_take(&p->lock);
    p->quit = true;
    signal_all(&p->begin);
    lock_give(&p->lock);
    for (int i = 0; i < p->started; i++) thread_join(p->workers[i].thread);
    signal_free(&p->begin);
    signal_free(&p->end);
    lock_free(&p->lock);
    free(p->workers);
    free(p);
}

void pool_run(Pool *p, int64_t count, void (*turn)(void *, int64_t, int), void *context)
{
    if (p->threads == 1 || count <= 1) { /* waking the others costs more than a turn */
        for (int64_t i = 0; i < count; i++) turn(context, i, p->threads - 1);
        return;
    }
    lock_take(&p->lock);
    p->turn = turn;
    p->context = context;
    p->count = count;
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);
    p->busy = p->started;
    p->round++;
    signal_all(&p->begin);
    lock_give(&p->lock);
    take_turns(p, p->threads - 1);
    lock_take(&p->lock);
    while (p->busy > 0) signal_wait(&p->end, &p->lock);
    lock_give(&p->lock);
}
