# SPDX-License-Identifier: Apache-2.0
"""The built-in forecast: from any measured past to bands for days ahead, and how good they are."""

from slurm_green.signals.forecast.live import forecast

__all__ = ["forecast"]
