# SPDX-License-Identifier: Apache-2.0
"""What a vLLM server's /metrics tell of its load, all its engines together. Pure."""

import re
from contextlib import suppress
from math import isfinite

__all__ = ["gauges"]

_GAUGE = re.compile(
    rb"^vllm:(num_requests_running|num_requests_waiting|kv_cache_usage_perc"
    rb"|generation_tokens_total|prompt_tokens_total)(?:\{[^}\n]*\})? (\S+)$",
    re.MULTILINE,
)


def gauges(metrics: bytes) -> dict[str, float]:
    """By name without `vllm:`, summed over engines; what is no number counts for nothing."""
    found: dict[str, float] = {}
    for name, text in _GAUGE.findall(metrics):
        with suppress(ValueError):
            if isfinite(value := float(text)):
                found[name.decode()] = found.get(name.decode(), 0.0) + value
    return found
