// SPDX-License-Identifier: Apache-2.0
// All of the kernel as one unit, so that what is small and called often is inlined.

#include "fleet.h"

#include "engine.c"

#include "lists.c"

#include "iteration.c"

#include "replica.c"

#include "fleet.c"
