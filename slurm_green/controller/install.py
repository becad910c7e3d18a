# SPDX-License-Identifier: Apache-2.0
"""`sgreend --files DIR`: what systemd and slurmctld need, with this installation's paths."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from slurm_green.config.settings import Config
from slurm_green.unit_files import lua_string, place, systemd_command, systemd_word

__all__ = ["controller_files", "hook_modules", "install"]

_PACKAGE = Path(__file__).parents[1]
_MODULE = "slurm_green.lua"


def install(directory: Path, config: Config, read_from: Path | None) -> list[Path]:
    """Write units, the hook's Lua modules and a script that loads them; returns them.

    `read_from` is the configuration's file, None for the usual one.
    BadInputError when the directory or a file in it cannot be.
    """
    directory = directory.absolute()
    texts = controller_files(
        config,
        module=directory / _MODULE,
        sgreend=systemd_command("sgreend", read_from),
        sgreen=systemd_command("sgreen", None),
        read_from=read_from,
    )
    modules = {path.name: path.read_text("utf-8") for path in hook_modules()}
    return place(directory, modules | texts)


def hook_modules() -> Iterator[Path]:
    """This release's Lua modules, as they are in the package."""
    return (_PACKAGE / "slurm").glob("slurm_green*.lua")


def controller_files(
    config: Config,
    *,
    module: Path = Path("/etc/slurm") / _MODULE,
    sgreend: str = "/usr/bin/sgreend",
    sgreen: str = "/usr/bin/sgreen",
    read_from: Path | None = None,
) -> dict[str, str]:
    """The units and the example of a script; the two commands are as systemd reads them."""
    paths = config.paths
    daemon = _text("controller", "slurm-green.service").replace("=/usr/bin/sgreend", f"={sgreend}")
    fetch = _text("fetch", "slurm-green-fetch.service").replace("=/usr/bin/sgreen ", f"={sgreen} ")
    if read_from is not None:
        where = systemd_word(f"SLURM_GREEN_CONF={read_from.absolute()}")
        fetch = _added(fetch, f"Environment={where}")
    prices = [config.plan.prices_out] if config.plan.prices_out else []
    ours = (paths.socket, paths.published, paths.status, paths.lock, paths.ledger, paths.off)
    return {
        "slurm-green.service": _writable(daemon, {path.parent for path in (*ours, *prices)}),
        "slurm-green-fetch.service": _writable(fetch, {paths.signal.parent, paths.signals}),
        "slurm-green-fetch.timer": _text("fetch", "slurm-green-fetch.timer"),
        "slurm-green-fetch.sysusers": _text("fetch", "slurm-green-fetch.sysusers"),
        # Not by the name that Slurm reads: there the site may have a script of its own.
        "job_submit.example.lua": _script(module, config),
    }


def _text(part: str, name: str) -> str:
    return (_PACKAGE / part / name).read_text("utf-8")


def _added(unit: str, line: str) -> str:
    return unit.replace("[Service]\n", f"[Service]\n{line}\n")


def _writable(unit: str, directories: Iterable[Path]) -> str:
    """Under ProtectSystem=strict a directory that systemd does not make must be named."""
    usual = {
        f"/{root}/{line.partition('=')[2]}"
        for line in unit.splitlines()
        for key, root in (("RuntimeDirectory=", "run"), ("StateDirectory=", "var/lib"))
        if line.startswith(key)
    }
    others = sorted(str(path) for path in directories if str(path) not in usual)
    return _added(unit, f"ReadWritePaths={' '.join(map(systemd_word, others))}") if others else unit


def _script(module: Path, config: Config) -> str:
    """The module keeps its own defaults, which are ours: it is told what the site changed."""
    paths, usual = config.paths, Config().paths
    settings = [
        f"{key} = {lua_string(path)}"
        for key, path, default in (
            ("socket", paths.socket, usual.socket),
            ("published", paths.published, usual.published),
        )
        if path != default
    ]
    if config.hook.timeout_ms != Config().hook.timeout_ms:
        settings.append(f"timeout_s = {config.hook.timeout_ms / 1000:g}")
    text = _text("slurm", "job_submit.example.lua")
    text = text.replace('"/etc/slurm/slurm_green.lua"', lua_string(module))
    return text.replace("configure({})", f"configure({{{', '.join(settings)}}})")
