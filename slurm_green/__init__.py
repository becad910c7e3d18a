# SPDX-License-Identifier: Apache-2.0
"""slurm-green, the batch side: when, where and how fast Slurm's jobs run, by carbon."""

__all__ = ["__version__"]

__version__ = "0.1.0"
