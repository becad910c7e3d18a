# SPDX-License-Identifier: Apache-2.0
"""What a replica is told, and how wrong things are said."""

from pathlib import Path

import pytest

from serving.vllm.settings import Settings
from slurm_green.errors import BadInputError


def test_the_command_line_goes_before_the_environment() -> None:
    environment = {
        "SLURM_JOB_ID": "12",
        "SLURM_JOB_GPUS": "0-3",
        "SLURM_STEP_GPUS": "2,3",
        "SLURM_GREEN_SERVE_SLO_TPOT_MS": "30",
        "SLURM_GREEN_SERVE_POLICY": "max",
    }
    found = Settings.of({"slurm_green": {"policy": "two-level", "profile": "p"}}, environment)
    assert (found.job, found.gpus, found.slo_tpot_ms) == (12, "2,3", 30.0)
    assert (found.policy, found.profile) == ("two-level", Path("p"))
    assert Settings.of({}, {}) == Settings()


@pytest.mark.parametrize(
    ("own", "environment", "why"),
    [
        ({"polcy": "max"}, {}, "'polcy': no such setting; there are profile, slo_ttft_ms"),
        ("max", {}, "slurm_green: wanted an object"),
        ({"ttl_s": -1}, {}, "ttl_s: wanted a number above 0"),
        ({"job": True}, {}, "job: wanted a number above 0"),
        ({"profile": 3}, {}, "profile: wanted text"),
        ({"clocks": "all"}, {}, "clocks: 'all': allowed are auto, noded, nvml, none"),
        ({}, {"SLURM_GREEN_SERVE_SLO_TTFT_MS": "fast"}, "slo_ttft_ms: wanted a number"),
        ({"objective": "speed"}, {}, "objective: 'speed': allowed are performance-constrained"),
        ({"objective": "carbon-constrained"}, {}, "go together"),
        ({"carbon_budget_g_per_hour": 5}, {}, "go together"),
        ({}, {"SLURM_GREEN_SERVE_SLO": "1"}, "'slo': no such setting"),
    ],
)
def test_what_is_wrong_is_said(own: object, environment: dict[str, str], why: str) -> None:
    with pytest.raises(BadInputError, match=why):
        Settings.of({"slurm_green": own}, environment)
