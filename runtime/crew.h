/*
 * Work handed to several workers, a thread each, and taken back in the order it was handed over, whoever was done first. A
 * worker takes the oldest piece that nobody has begun, so a fast one does more than a slow one.
 * All functions are for the one thread that opened the crew; only `work` runs on the workers'.
 */
#ifndef UPRES_RUNTIME_CREW_H
#define UPRES_RUNTIME_CREW_H

#include <stdbool.h>

typedef struct Crew Crew;

/* room: how many pieces there may be at a time, done ones that were not taken back among them. NULL: no memory, no threads. */
Crew *crew_open(int workers, int room, void (*work)(void *user, int worker, void *piece), void *user);
/* Waits for the pieces that are being worked on; the others are not begun any more. Pieces are the caller's: `left` (NULL, or
 * as long as there is room) receives those that were not taken back. Returns how many. NULL is allowed. */
int crew_close(Crew *c, void **left);

bool crew_has_room(Crew *c);
void crew_hand_over(Crew *c, void *piece); /* there must be room */
void *crew_oldest(const Crew *c);          /* the piece that is taken back next, in whatever state; NULL: there is none */
/* Is it done? Waits for it, but no longer than so many milliseconds. What its worker has written can be seen from then on. */
bool crew_oldest_done(Crew *c, int wait_ms);
void crew_take_back(Crew *c); /* the oldest, which is done */

#endif
