// SPDX-License-Identifier: Apache-2.0
// All of the kernel as one unit, so that what is small and called often is inlined.

#include "fleet.h"

#include "engine.c"

#include "lists.c"

#include "iteration.c"

#include "replica.c"

#include "fleet.c"

// The sizes of what Python hands over, in the order in which kernel/__init__.py names them: a library
// of another source is known by them.
const int64_t sg_sizes[] = {sizeof(Model), sizeof(Requests), 0};
