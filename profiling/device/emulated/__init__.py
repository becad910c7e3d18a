# SPDX-License-Identifier: Apache-2.0
"""An emulated `libnvidia-ml.so.1` whose clocks move power and energy, and its test bench."""

__all__: list[str] = []
