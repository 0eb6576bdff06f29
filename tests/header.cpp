/* The public header by itself, as C++; only compiled. */
#include "runtime/upres.h"
