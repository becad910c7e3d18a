# SPDX-License-Identifier: Apache-2.0
"""One GPU behind a small protocol: NVIDIA by NVML, AMD by amdsmi, emulated ones by physics."""

__all__: list[str] = []
