# SPDX-License-Identifier: Apache-2.0
"""A real Slurm on this machine, for the demo and for tests."""
