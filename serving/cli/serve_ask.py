# SPDX-License-Identifier: Apache-2.0
"""From the options of `sgreen serve` to what runs: here, and again in a job."""

import hashlib
import logging
import os
import re
import secrets
import shlex
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from profiling.shipped import shipped, shipped_names
from serving.governor.registry import POLICIES
from serving.replica.check import gpus_here, gpus_named, profile_here
from serving.replica.command import Ask, gpus_per_replica, served_name, tensor_parallel
from serving.replica.local import Local, code_directory, packages
from serving.replica.machine import Rules
from serving.replica.registered import job_stem
from serving.replica.script import container
from serving.router.registration import NAME
from serving.router.settings import MODEL
from serving.vllm.settings import KEY, PREFIX, Settings
from slurm_green.errors import BadInputError

__all__ = ["again", "asked", "local_of", "profile_missing"]

_LOG = logging.getLogger("slurm_green.serve")


def asked(
    model: str, options: tuple[str, ...], given: dict[str, Any], state: Path
) -> tuple[Ask, Settings, str | None]:
    """What replicas are asked for, checked; and where our packages are for them."""
    names = (
        "slo_ttft_ms", "slo_tpot_ms", "profile", "policy", "objective",
        "carbon_budget_g_per_hour", "prices", "ceiling", "clocks",
    )  # fmt: skip
    values = {name: str(given[name]) for name in names if given[name] is not None}
    settings = Settings.of({KEY: values}, os.environ)
    kind = (model, options, given["site"], settings.profile, given["slo_ttft_ms"],
        given["slo_tpot_ms"])  # fmt: skip
    if settings.learned is None and (learned := _learned(kind, settings, given, state)) is not None:
        settings = replace(settings, learned=learned)
        values["learned"] = str(learned)
    named = settings.policy.startswith("static:") or settings.policy in POLICIES
    if not named or settings.policy == "oracle":
        known = ", ".join(name for name in POLICIES if name != "oracle")
        raise BadInputError(
            f"--policy {settings.policy}: no such policy to serve with; there are {known}"
        )
    if not NAME.fullmatch(given["site"]):
        raise BadInputError(f"--site {given['site']!r}: wanted letters, digits and . _ - / :")
    code = code_directory()
    launcher: tuple[str, ...] = ()
    if given["container"]:
        binds = [*given["bind"], str(settings.socket.parent)]
        # Directories: a file that is replaced whole stays the old one where it is bound itself.
        files = (settings.prices, settings.ceiling, settings.learned)
        binds += [str(one.absolute().parent) for one in files if one is not None]
        if settings.profile is not None and settings.profile.is_dir():
            binds.append(str(settings.profile.absolute()))
        launcher, code = container(
            given["container_runtime"], given["container"], code=packages(), binds=binds
        )
    try:
        server = tuple(shlex.split(given["vllm"]))
    except ValueError as error:
        raise BadInputError(f"--vllm {given['vllm']}: {error}") from error
    if not server:
        raise BadInputError("--vllm: names no command; try --vllm 'vllm serve'")
    drain_s = given["drain_s"]
    ask = Ask(
        model=model, options=options, server=server, launcher=launcher, settings=values,
        shutdown_s=min(drain_s, 30.0),
    )  # fmt: skip
    if not re.fullmatch(MODEL, name := served_name(ask)):
        raise BadInputError(
            f"{name!r}: routers cannot ask for a model of this name; give one without blanks, as"
            " -- --served-model-name NAME"
        )
    if f"{PREFIX}METRICS" in os.environ:
        raise BadInputError(f"{PREFIX}METRICS: sgreen serve gives each replica its own; unset it")
    return ask, settings, code


def _learned(
    kind: tuple[object, ...], settings: Settings, given: dict[str, Any], state: Path
) -> Path | None:
    """The file that replicas of this kind share; None where nothing is learned, or kept.

    Nobody needs it to serve: a directory that cannot be made costs what would be in it.
    """
    if settings.profile is None or not settings.policy.startswith("governor"):
        return None
    directory = state / "learned"
    try:
        if not given["dry_run"]:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        _LOG.warning("what the governor learns is not kept: %s", error)
        return None
    name = f"{hashlib.sha256(repr(kind).encode()).hexdigest()[:16]}.json"
    return (directory / name).absolute()


def profile_missing(settings: Settings) -> str | None:
    """What to warn of before jobs are submitted; None where their profile is here.

    No error: the directory may be on the nodes only.
    """
    if settings.profile is None or shipped(settings.profile).is_dir():
        return None
    return (
        f"--profile {settings.profile}: no such directory here, and no shipped profile, which are "
        f"{', '.join(shipped_names())}; where the job finds none either, clocks stay at their "
        "maximum"
    )


def local_of(
    model: str, options: tuple[str, ...], given: dict[str, Any], state: Path, registrations: Path
) -> Local:
    """Replicas of this machine."""
    ask, settings, code = asked(model, options, given, state)
    job = os.environ.get("SLURM_JOB_ID")
    count = given["replicas"] * gpus_per_replica(options)
    gpus = _numbers("--gpus", given["gpus"])
    if not gpus and job is None:
        shown = os.environ.get("CUDA_VISIBLE_DEVICES")  # empty: none
        gpus = gpus_here(settings) if shown is None else _visible(settings, shown)
    if gpus and len(gpus) < count:
        raise BadInputError(
            f"{given['replicas']} replicas want {count} GPUs, here are {len(gpus)}: fewer replicas,"
            " or --gpus"
        )
    gpus = gpus[:count]
    if why := profile_here(settings, gpus, tensor_parallel(options)):
        click.echo(f"sgreen: nothing is governed, clocks stay at their maximum: {why}", err=True)
        ask = replace(
            ask, settings={key: one for key, one in ask.settings.items() if key != "profile"}
        )
    return Local(
        ask=ask,
        settings=settings,
        environ=dict(os.environ),
        rules=Rules(
            start_s=given["start_s"], drain_s=given["drain_s"], lead_s=given["lead_s"],
            stop_s=ask.shutdown_s + 10.0,
        ),
        replicas=given["replicas"],
        host=given["host"] or (socket.gethostname() if job else "127.0.0.1"),
        site=given["site"],
        registrations=registrations,
        logs=state / "logs",
        # Another machine that shares the directory may have a process of this number.
        stem=job_stem(job, given["replace_with"])
        if job
        else f"local{os.getpid()}-{secrets.token_hex(2)}",
        gpus=gpus,
        code=code,
        replace_with=given["replace_with"],
    )  # fmt: skip


def again(
    model: str,
    options: tuple[str, ...],
    given: dict[str, Any],
    state: Path,
    registrations: Path,
    script: Path,
) -> list[str]:
    """This very command as a job runs it: one replica, on its node."""
    own = Path(sys.executable).with_name("sgreen")
    argv = [str(own) if own.exists() else "sgreen", "serve", model, "--local"]
    ours = ("state", "registrations", "replace_with", "replicas", "minutes", "sbatch_options")
    skipped = (*ours, "local", "no_wait", "dry_run", "as_json")
    for name, value in given.items():
        if name in skipped or value in (None, "", ()):
            continue
        for one in value if isinstance(value, tuple) else (value,):
            word = one.absolute() if isinstance(one, Path) and one.exists() else one
            argv += [f"--{name.replace('_', '-')}", str(word)]
    argv += ["--state", str(state.absolute()), "--registrations", str(registrations.absolute())]
    argv += ["--replace-with", str(script)]
    return [*argv, "--", *options] if options else argv


def _visible(settings: Settings, text: str) -> tuple[int, ...]:
    """What CUDA_VISIBLE_DEVICES shows, by numbers or by UUIDs."""
    names = _parts(text)
    if not names or not all(one.startswith("GPU-") for one in names):
        return _numbers("CUDA_VISIBLE_DEVICES", text)
    try:
        return gpus_named(settings, names)
    except BadInputError as error:
        raise BadInputError(
            f"CUDA_VISIBLE_DEVICES {text}: {error}; wanted numbers, as --gpus 0,1"
        ) from error


def _numbers(where: str, text: str) -> tuple[int, ...]:
    parts = _parts(text)
    if not all(one.isdecimal() for one in parts):
        raise BadInputError(f"{where} {text}: wanted numbers with commas, as --gpus 0,1")
    numbers = tuple(map(int, parts))
    if len(set(numbers)) != len(numbers):
        raise BadInputError(f"{where} {text}: one is there twice; leave it out")
    return numbers


def _parts(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]
