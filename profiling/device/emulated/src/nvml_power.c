// SPDX-License-Identifier: Apache-2.0
// Power, its limits, energy, temperature, and the field values that repeat them.

#include <math.h>
#include <time.h>

#include "nvml.h"

static unsigned milliwatts(double power_w) { return (unsigned)lround(power_w * 1e3); }

NUMBER(nvmlDeviceGetPowerUsage, unsigned,
       milliwatts(sg_power_average_w(view.model, &view.live)))
NUMBER(nvmlDeviceGetTotalEnergyConsumption, unsigned long long, sg_counter_mj(&view.live))
NUMBER(nvmlDeviceGetPowerManagementLimit, unsigned, milliwatts(view.live.limit_w))
NUMBER(nvmlDeviceGetEnforcedPowerLimit, unsigned, milliwatts(view.live.limit_w))
NUMBER(nvmlDeviceGetPowerManagementDefaultLimit, unsigned,
       milliwatts(view.model->limit_default_w))
NUMBER(nvmlDeviceGetPowerManagementMode, unsigned, 1)

EXPORT nvmlReturn_t nvmlDeviceGetPowerManagementLimitConstraints(nvmlDevice_t device,
                                                                 unsigned *min_mw,
                                                                 unsigned *max_mw) {
    ENTER(device, min_mw);
    if (max_mw == NULL) return NVML_ERROR_INVALID_ARGUMENT;
    *min_mw = milliwatts(view.model->limit_min_w);
    *max_mw = milliwatts(view.model->limit_max_w);
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceSetPowerManagementLimit(nvmlDevice_t device, unsigned limit_mw) {
    ENTER_SETTER(device);
    if (limit_mw < milliwatts(view.model->limit_min_w) ||
        limit_mw > milliwatts(view.model->limit_max_w))
        return sg_abort(&view, NVML_ERROR_INVALID_ARGUMENT);
    view.live.limit_w = limit_mw / 1e3;
    return sg_commit(&view);
}

EXPORT nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, unsigned sensor,
                                             unsigned *celsius) {
    ENTER(device, celsius);
    if (sensor != 0) return NVML_ERROR_INVALID_ARGUMENT;
    *celsius = (unsigned)lround(view.live.temperature_c);
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetTemperatureV(nvmlDevice_t device, nvmlTemperature_t *out) {
    ENTER(device, out);
    if (out->version != NVML_TEMPERATURE_V1) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (out->sensorType != 0) return NVML_ERROR_INVALID_ARGUMENT;
    out->temperature = (int)lround(view.live.temperature_c);
    return NVML_SUCCESS;
}

static int answer(nvmlFieldValue_t *field, unsigned value) {
    field->valueType = NVML_VALUE_UNSIGNED_INT;
    field->value.uiVal = value;
    return NVML_SUCCESS;
}

static int answer_long(nvmlFieldValue_t *field, uint64_t value) {
    field->valueType = NVML_VALUE_UNSIGNED_LONG_LONG;
    field->value.ullVal = value;
    return NVML_SUCCESS;
}

static int read_field(const struct sg_view *view, nvmlFieldValue_t *field) {
    const struct sg_model *model = view->model;
    if (field->scopeId != 0) return NVML_ERROR_NOT_SUPPORTED;
    switch (field->fieldId) {
    case NVML_FI_PERF_POLICY_POWER: return answer_long(field, (uint64_t)view->live.capped_ns);
    case NVML_FI_TOTAL_ENERGY:
    case NVML_FI_ENERGY: return answer_long(field, sg_counter_mj(&view->live));
    case NVML_FI_POWER_AVERAGE:
        if (model->power_window_s <= 0.0) return NVML_ERROR_NOT_SUPPORTED;
        return answer(field, milliwatts(sg_power_average_w(model, &view->live)));
    case NVML_FI_POWER_INSTANT:
        return answer(field, milliwatts(sg_power_sample_w(model, &view->live)));
    case NVML_FI_POWER_MIN_LIMIT: return answer(field, milliwatts(model->limit_min_w));
    case NVML_FI_POWER_MAX_LIMIT: return answer(field, milliwatts(model->limit_max_w));
    case NVML_FI_POWER_DEFAULT_LIMIT: return answer(field, milliwatts(model->limit_default_w));
    case NVML_FI_POWER_CURRENT_LIMIT:
    case NVML_FI_POWER_REQUESTED_LIMIT: return answer(field, milliwatts(view->live.limit_w));
    case NVML_FI_MCLK_SWITCH_TYPE: return answer(field, (unsigned)model->memory_switch);
    default: return NVML_ERROR_NOT_SUPPORTED;
    }
}

EXPORT nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t device, int count,
                                             nvmlFieldValue_t *fields) {
    ENTER(device, fields);
    struct timespec now;
    if (count < 1) return NVML_ERROR_INVALID_ARGUMENT;
    clock_gettime(CLOCK_REALTIME, &now);
    for (int i = 0; i < count; i++) {
        fields[i].timestamp = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
        fields[i].latencyUsec = 0;
        fields[i].nvmlReturn = read_field(&view, &fields[i]);
    }
    return NVML_SUCCESS;
}
