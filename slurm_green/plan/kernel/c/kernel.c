// SPDX-License-Identifier: Apache-2.0
// All of the kernel as one unit, so that what is small and called often is inlined.

#include "board.h"

#include "steps.c"

#include "board.c"

#include "lists.c"

#include "state.c"

#include "eject.c"

#include "moves.c"

#include "rooms.c"

#include "splits.c"

#include "respond.c"

#include "smooth.c"

// The sizes of what Python hands over, in the order in which kernel/__init__.py names them: a library
// of another source is known by them.
const int64_t sg_sizes[] = {
    sizeof(Board), sizeof(Lists), sizeof(Moves), sizeof(Splits), sizeof(SteeredEnergy),
    sizeof(Question), sizeof(Smooth), 0,
};
