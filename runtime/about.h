/*
 * This library and the machine it runs on, for bug reports.
 */
#ifndef UPRES_RUNTIME_ABOUT_H
#define UPRES_RUNTIME_ABOUT_H

#include <stddef.h>

/* Lines of text, cut where `size` (at least 1) ends. Opens and closes every GPU. */
void about(char *text, size_t size);

#endif
