# SPDX-License-Identifier: Apache-2.0
"""The command line and environment of one vLLM server, from what a person asked for. Pure.

The key goes by the environment: command lines are for everybody to read. Whatever of vLLM's
options a person gives is passed on as it is, but for those that cannot be theirs.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from serving.vllm.settings import PREFIX
from slurm_green.errors import BadInputError

__all__ = [
    "Ask",
    "Place",
    "engine_argv",
    "engine_env",
    "gpus_per_replica",
    "served_name",
    "tensor_parallel",
]

SCHEDULER = "serving.vllm.scheduler.GovernedScheduler"
MIDDLEWARE = "serving.vllm.middleware.Energy"
_OURS = {
    "--host": "give --host before --",
    "--port": "each replica takes a free one",
    "--api-key": "each replica makes its own",
}
_TENSOR = ("--tensor-parallel-size", "-tp")
_SIZES = (
    _TENSOR,
    ("--pipeline-parallel-size", "-pp"),
    ("--data-parallel-size", "-dp"),
)


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What all replicas of one `sgreen serve` have in common.

    `settings` are keys of `serving.vllm.settings`; `launcher` goes before the server's command,
    for containers.
    """

    model: str
    options: tuple[str, ...] = ()
    server: tuple[str, ...] = ("vllm", "serve")
    launcher: tuple[str, ...] = ()
    governed: bool = True
    settings: Mapping[str, str] = field(default_factory=dict)
    shutdown_s: float = 30.0

    def __post_init__(self) -> None:
        for option, instead in _OURS.items():
            if _value(self.options, (option,)) is not None:
                raise BadInputError(
                    f"{option} among vLLM's options: sgreen serve sets it itself ({instead})"
                )


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one replica runs; `gpus` as NVML numbers them, empty where Slurm has chosen."""

    host: str
    port: int
    metrics_port: int
    key: str
    gpus: tuple[int, ...] = ()


def engine_argv(ask: Ask, place: Place) -> list[str]:
    """The server's command, ours before the person's options, so that theirs win."""
    argv = [*ask.launcher, *ask.server, ask.model]
    argv += ["--host", place.host, "--port", str(place.port)]
    argv += ["--shutdown-timeout", f"{ask.shutdown_s:.0f}"]
    if ask.governed and _value(ask.options, ("--scheduler-cls",)) is None:
        argv += ["--scheduler-cls", SCHEDULER, "--middleware", MIDDLEWARE]
    return [*argv, *ask.options]


def engine_env(
    ask: Ask, place: Place, environ: Mapping[str, str], path: str | None
) -> dict[str, str]:
    """Its environment: the caller's, and ours; `path` is where our packages are."""
    env = dict(environ)
    env["VLLM_API_KEY"] = place.key
    if path is not None:
        env["PYTHONPATH"] = ":".join(filter(None, (path, environ.get("PYTHONPATH"))))
    if ask.governed:
        for key, value in ask.settings.items():
            env[f"{PREFIX}{key.upper()}"] = value
        env[f"{PREFIX}METRICS"] = f"127.0.0.1:{place.metrics_port}"
    if place.gpus:
        # As NVML counts; CUDA's own order is the fastest first, where a machine has several types.
        env["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
        env["CUDA_VISIBLE_DEVICES"] = env[f"{PREFIX}GPUS"] = ",".join(map(str, place.gpus))
    return env


def served_name(ask: Ask) -> str:
    """What clients call the model."""
    return _value(ask.options, ("--served-model-name",)) or ask.model


def gpus_per_replica(options: Sequence[str]) -> int:
    """By vLLM's parallel sizes; raises BadInputError for one that is no number."""
    return math.prod(_size(options, names) for names in _SIZES)


def tensor_parallel(options: Sequence[str]) -> int:
    """GPUs that share each layer, of which a profile speaks; raises BadInputError."""
    return _size(options, _TENSOR)


def _size(options: Sequence[str], names: Sequence[str]) -> int:
    text = _value(options, names) or "1"
    if not text.isdecimal() or int(text) < 1:
        raise BadInputError(f"{names[0]} {text}: wanted a number from 1 on")
    return int(text)


def _value(options: Sequence[str], names: Sequence[str]) -> str | None:
    """What follows an option, in any spelling that vLLM takes; None where it is not given.

    Of one that is there twice vLLM takes the last.
    """
    found = None
    for at, option in enumerate(options):
        name, equals, value = option.partition("=")
        name = name.replace("_", "-")
        if name in names:
            found = value if equals else next(iter(options[at + 1 :]), "")
    return found
