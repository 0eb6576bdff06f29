/* The public header by itself, as strict C99; only compiled. */
#include "runtime/upres.h"
