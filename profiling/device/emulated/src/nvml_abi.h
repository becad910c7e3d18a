// SPDX-License-Identifier: Apache-2.0
// The part of NVML's binary interface that this library speaks: codes, numbers, layouts.
// Numbers and layouts as in nvidia-ml-py and the NVML API reference.

#ifndef SGREEN_EMULATED_NVML_ABI_H
#define SGREEN_EMULATED_NVML_ABI_H

#include <stdint.h>

typedef void *nvmlDevice_t;

typedef enum {
    NVML_SUCCESS = 0,
    NVML_ERROR_UNINITIALIZED = 1,
    NVML_ERROR_INVALID_ARGUMENT = 2,
    NVML_ERROR_NOT_SUPPORTED = 3,
    NVML_ERROR_NO_PERMISSION = 4,
    NVML_ERROR_NOT_FOUND = 6,
    NVML_ERROR_INSUFFICIENT_SIZE = 7,
    NVML_ERROR_DRIVER_NOT_LOADED = 9,
    NVML_ERROR_TIMEOUT = 10,
    NVML_ERROR_GPU_IS_LOST = 15,
    NVML_ERROR_LIB_RM_VERSION_MISMATCH = 18,
    NVML_ERROR_FREQ_NOT_SUPPORTED = 24,
    NVML_ERROR_ARGUMENT_VERSION_MISMATCH = 25,
    NVML_ERROR_UNKNOWN = 999,
} nvmlReturn_t;

enum { NVML_BRAND_GEFORCE = 5 };
enum { NVML_CLOCK_GRAPHICS, NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_CLOCK_VIDEO };
enum { NVML_CLOCK_ID_CURRENT = 0, NVML_CLOCK_ID_CUSTOMER_BOOST_MAX = 3 };
#define NVML_CLOCK_LIMIT_ID_RANGE_START 0xffffff00u
#define NVML_CLOCK_LIMIT_ID_TDP 0xffffff01u
#define NVML_CLOCK_LIMIT_ID_UNLIMITED 0xffffff02u

#define NVML_REASON_GPU_IDLE UINT64_C(0x1)
#define NVML_REASON_SW_POWER_CAP UINT64_C(0x4)
// Idle, power cap, HW slowdown, SW thermal, HW thermal, power brake.
#define NVML_REASONS_SUPPORTED UINT64_C(0xed)

enum {
    NVML_FI_PERF_POLICY_POWER = 74,
    NVML_FI_TOTAL_ENERGY = 83,
    NVML_FI_POWER_AVERAGE = 185,
    NVML_FI_POWER_INSTANT = 186,
    NVML_FI_POWER_MIN_LIMIT = 187,
    NVML_FI_POWER_MAX_LIMIT = 188,
    NVML_FI_POWER_DEFAULT_LIMIT = 189,
    NVML_FI_POWER_CURRENT_LIMIT = 190,
    NVML_FI_ENERGY = 191,
    NVML_FI_POWER_REQUESTED_LIMIT = 192,
    NVML_FI_MCLK_SWITCH_TYPE = 298,
};
enum { NVML_VALUE_UNSIGNED_INT = 1, NVML_VALUE_UNSIGNED_LONG_LONG = 3 };

typedef struct {
    char busIdLegacy[16];
    unsigned domain, bus, device, pciDeviceId, pciSubSystemId;
    char busId[32];
} nvmlPciInfo_t;

typedef struct {
    unsigned long long total, free, used;
} nvmlMemory_t;

typedef struct {
    unsigned version;
    unsigned long long total, reserved, free, used;
} nvmlMemory_v2_t;
#define NVML_MEMORY_V2 0x02000028u

typedef struct {
    unsigned gpu, memory;
} nvmlUtilization_t;

typedef struct {
    unsigned pid;
    unsigned long long usedGpuMemory;
} nvmlProcessInfo_v1_t;

typedef struct {
    unsigned pid;
    unsigned long long usedGpuMemory;
    unsigned gpuInstanceId, computeInstanceId;
} nvmlProcessInfo_t;

typedef struct {
    unsigned fieldId, scopeId;
    int64_t timestamp, latencyUsec;
    unsigned valueType;
    int nvmlReturn;
    union {
        double dVal;
        unsigned uiVal;
        unsigned long long ullVal;
    } value;
} nvmlFieldValue_t;

typedef struct {
    unsigned version, sensorType;
    int temperature;
} nvmlTemperature_t;
#define NVML_TEMPERATURE_V1 0x0100000cu

typedef struct {
    unsigned version, type;
    union {
        char str[41];
        unsigned char bytes[16];
    } value;
} nvmlUUID_t;
enum { NVML_UUID_TYPE_ASCII = 1 };

#endif
