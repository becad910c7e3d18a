// SPDX-License-Identifier: Apache-2.0
// How every NVML entry point begins: initialised? told to fail? a known device, and still there?

#ifndef SGREEN_EMULATED_NVML_H
#define SGREEN_EMULATED_NVML_H

#include "nvml_abi.h"
#include "state.h"

#define EXPORT __attribute__((visibility("default")))
// The same entry point under another name, for versions that differ in nothing.
#define ALIAS(name, of) EXPORT extern __typeof__(of) name __attribute__((alias(#of)))

struct sg_view {
    struct sg_state *state;
    const struct sg_model *model;
    uint32_t index;
    struct sg_live live;  // as of now
};

// A call without a device.
SG_HIDDEN nvmlReturn_t sg_enter(const char *function, struct sg_state **state);
// A call that reads a device.
SG_HIDDEN nvmlReturn_t sg_enter_device(const char *function, nvmlDevice_t device,
                                       struct sg_view *view);
// A call that sets: needs CAP_SYS_ADMIN and a writable state file. Then commit or abort.
SG_HIDDEN nvmlReturn_t sg_enter_setter(const char *function, nvmlDevice_t device,
                                       struct sg_view *view);
SG_HIDDEN nvmlReturn_t sg_commit(struct sg_view *view);
SG_HIDDEN nvmlReturn_t sg_abort(struct sg_view *view, nvmlReturn_t code);
SG_HIDDEN nvmlReturn_t sg_copy_text(const char *text, char *to, unsigned length);

#define ENTER(device, pointer)                                            \
    struct sg_view view;                                                  \
    nvmlReturn_t entered = sg_enter_device(__func__, device, &view);      \
    if (entered != NVML_SUCCESS) return entered;                          \
    if ((pointer) == NULL) return NVML_ERROR_INVALID_ARGUMENT

// One number, as of now.
#define NUMBER(name, type, expression)                                    \
    EXPORT nvmlReturn_t name(nvmlDevice_t device, type *out) {            \
        ENTER(device, out);                                               \
        *out = (type)(expression);                                        \
        return NVML_SUCCESS;                                              \
    }

#define ENTER_SETTER(device)                                              \
    struct sg_view view;                                                  \
    nvmlReturn_t entered = sg_enter_setter(__func__, device, &view);      \
    if (entered != NVML_SUCCESS) return entered

#endif
