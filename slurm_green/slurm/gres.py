# SPDX-License-Identifier: Apache-2.0
"""How many GPUs a GRES or TRES text means.

Slurm writes the same request in many ways: "gres:gpu:1" (22.05), "gres/gpu:h100:2" (24.11),
"gres/gpu=4" (accounting and --gpus-per-task), "gpu:h100:2(S:0-1)" (a node), "gpu" (one).
"""

import re

__all__ = ["gpu_count", "gpu_type", "job_gpus"]

# Types may begin with a digit ("gpu:2080ti:4", "gpu:1g.10gb:7"); a lone number is a count.
_ITEM = re.compile(
    r"(?:gres[:/])?gpu(?::(?P<type>[^:=,()]+))??(?:[:=](?P<count>\d+)(?P<unit>[KkMm]?))?$"
)
_NOTE = re.compile(r"\([^)]*\)")
_UNIT = {"": 1, "k": 1024, "m": 1024 * 1024}


def gpu_count(text: str | None) -> int:
    """GPUs in one text; an untyped total counts alone, else the typed parts are added up."""
    if not text or "gpu" not in text:
        return 0
    untyped = typed = 0
    for item in _NOTE.sub("", text).split(","):
        match = _ITEM.match(item.strip())
        if not match:
            continue
        count = int(match["count"] or 1) * _UNIT[(match["unit"] or "").lower()]
        if match["type"]:
            typed += count
        else:
            untyped += count
    return untyped if "=" in text and untyped else untyped + typed


def gpu_type(text: str | None) -> str:
    """The one type of GPU that a text names; "" for none, or for several."""
    items = [_ITEM.match(item.strip()) for item in _NOTE.sub("", text or "").split(",")]
    types = {match["type"] or "" for match in items if match}
    return types.pop() if len(types) == 1 else ""


def job_gpus(
    *,
    allocated: str = "",
    requested: str = "",
    per_job: str = "",
    per_node: str = "",
    per_socket: str = "",
    per_task: str = "",
    nodes: int = 1,
    sockets_per_node: int = 1,
    tasks: int = 1,
) -> int:
    """All GPUs of a job (of one task of an array).

    Slurm's own totals come first; they list GPUs only with AccountingStorageTRES=gres/gpu.
    """
    for total in (allocated, requested, per_job):
        count = gpu_count(total)
        if count:
            return count
    count = gpu_count(per_node)
    if count:
        return count * max(1, nodes)
    count = gpu_count(per_socket)
    if count:
        return count * max(1, sockets_per_node) * max(1, nodes)
    return gpu_count(per_task) * max(1, tasks)
