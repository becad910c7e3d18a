# SPDX-License-Identifier: Apache-2.0
"""For all tests: linear algebra on one core before anything imports numpy; Hypothesis in no hurry.

A machine that is busy makes an example slow, not wrong. With SLURM_GREEN_SAME_EXAMPLES=1 every
run tries the same examples; without it each tries others.
"""

import os

from hypothesis import HealthCheck, settings

from slurm_green.threads import one_thread

one_thread()
settings.register_profile(
    "slurm-green",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=os.environ.get("SLURM_GREEN_SAME_EXAMPLES") == "1",
)
settings.load_profile("slurm-green")
