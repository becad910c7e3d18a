# SPDX-License-Identifier: Apache-2.0
"""What sgreend and sgreen-noded say to each other, and what their credentials cover. Pure.

    POST /v1/orders  {"node": "n1", "jobs": [12, 13]}
        -> {"jobs": {"12": {"clock_mhz": 1095, "floor_mhz": 900}}, "cap": {}}
    POST /v1/energy  {"node": "n1", "energies": {NAME: {"job_id": 12, "energy_j": 5120.5, ...}}}
        -> {"taken": [NAME, ...]}

A request carries a munge credential for its path and body, the answer one for that credential and
its own body: the trap is that orders slow jobs, so a node must not take them from just anybody.
"""

from slurm_green.slurm.munge import digest

__all__ = [
    "ANSWER_HEADER",
    "ENERGY",
    "MOST_BYTES",
    "ORDERS",
    "REQUEST_HEADER",
    "answer_digest",
    "request_digest",
]

ORDERS = "/v1/orders"
ENERGY = "/v1/energy"
REQUEST_HEADER = "x-sgreen-request"
ANSWER_HEADER = "x-sgreen-answer"
MOST_BYTES = 256 * 1024  # of either body


def request_digest(path: str, body: bytes) -> bytes:
    """What the credential of a request says."""
    return digest(b"request", path.encode(), body)


def answer_digest(credential: str, body: bytes) -> bytes:
    """What the credential of the answer to a request says."""
    return digest(b"answer", credential.encode(), body)
