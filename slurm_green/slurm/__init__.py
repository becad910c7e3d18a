# SPDX-License-Identifier: Apache-2.0
"""The only place that talks to Slurm."""
