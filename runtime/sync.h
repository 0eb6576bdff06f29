/*
 * Threads, locks and signals of the system, by one set of names. pthread | Win32.
 */
#ifndef UPRES_RUNTIME_SYNC_H
#define UPRES_RUNTIME_SYNC_H

#include <stdbool.h>

#ifdef _WIN32
#include <windows.h>

typedef HANDLE Thread;
typedef SRWLOCK Lock;
typedef CONDITION_VARIABLE Signal;
#define THREAD_RESULT DWORD WINAPI

static inline void lock_init(Lock *l) { InitializeSRWLock(l); }
static inline void lock_take(Lock *l) { AcquireSRWLockExclusive(l); }
static inline void lock_give(Lock *l) { ReleaseSRWLockExclusive(l); }
static inline void lock_free(Lock *l) { (void)l; }
static inline void signal_init(Signal *s) { InitializeConditionVariable(s); }
static inline void signal_wait(Signal *s, Lock *l) { SleepConditionVariableSRW(s, l, INFINITE, 0); }
/* Comes back after so many milliseconds at the latest. */
static inline void signal_wait_for(Signal *s, Lock *l, int ms) { SleepConditionVariableSRW(s, l, (DWORD)ms, 0); }
static inline void signal_all(Signal *s) { WakeAllConditionVariable(s); }
static inline void signal_free(Signal *s) { (void)s; }
static inline bool thread_start(Thread *t, DWORD(WINAPI *run)(void *), void *argument)
{
    *t = CreateThread(NULL, 0, run, argument, 0, NULL);
    return *t != NULL;
}
static inline void thread_join(Thread t)
{
    WaitForSingleObject(t, INFINITE);
    CloseHandle(t);
}
#else
#include <pthread.h>
#include <time.h>

typedef pthread_t Thread;
typedef pthread_mutex_t Lock;
typedef pthread_cond_t Signal;
#define THREAD_RESULT void *

static inline void lock_init(Lock *l) { pthread_mutex_init(l, NULL); }
static inline void lock_take(Lock *l) { pthread_mutex_lock(l); }
static inline void lock_give(Lock *l) { pthread_mutex_unlock(l); }
static inline void lock_free(Lock *l) { pthread_mutex_destroy(l); }
static inline void signal_init(Signal *s) { pthread_cond_init(s, NULL); }
static inline void signal_wait(Signal *s, Lock *l) { pthread_cond_wait(s, l); }
/* Comes back after so many milliseconds at the latest. */
static inline void signal_wait_for(Signal *s, Lock *l, int ms)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    until.tv_sec += ms / 1000 + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_cond_timedwait(s, l, &until);
}
static inline void signal_all(Signal *s) { pthread_cond_broadcast(s); }
static inline void signal_free(Signal *s) { pthread_cond_destroy(s); }
static inline bool thread_start(Thread *t, void *(*run)(void *), void *argument)
{
    return pthread_create(t, NULL, run, argument) == 0;
}
static inline void thread_join(Thread t) { pthread_join(t, NULL); }
#endif

#endif
