# SPDX-License-Identifier: Apache-2.0
"""For all tests: linear algebra on one core, before anything imports numpy."""

from slurm_green.threads import one_thread

one_thread()
