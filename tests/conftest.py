# SPDX-License-Identifier: Apache-2.0
"""For all tests: linear algebra on one core before anything imports numpy; Hypothesis in no hurry.

Signals mean what they mean at a terminal: a shell's background commands ignore some. Whom tests
ask is on this machine, where no proxy of the environment leads.
A machine that is busy makes an example slow, not wrong. With SLURM_GREEN_SAME_EXAMPLES=1 every
run tries the same examples; without it each tries others.
"""

import os
import signal

from hypothesis import HealthCheck, settings

from slurm_green.threads import one_thread

one_thread()
for number, usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGQUIT, signal.SIG_DFL),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)
os.environ.pop("COLUMNS", None)  # tables are as wide as where nobody says
for name in ("no_proxy", "NO_PROXY"):
    os.environ[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1,localhost,::1")))
settings.register_profile(
    "slurm-green",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=os.environ.get("SLURM_GREEN_SAME_EXAMPLES") == "1",
)
settings.load_profile("slurm-green")
