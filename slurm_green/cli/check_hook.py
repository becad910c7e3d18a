# SPDX-License-Identifier: Apache-2.0
"""Doctor: the submit hook, from job_submit.lua to the daemon that answers it."""

import os
import re
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from slurm_green.cli.app import App
from slurm_green.cli.check import Check, fail, ok, warn
from slurm_green.cli.freshness import most_age_s
from slurm_green.config.settings import Paths
from slurm_green.errors import SlurmError

__all__ = ["check_hook"]

_LUA = ("lua5.1", "lua")
_MODULE = "slurm_green.lua"


def check_hook(app: App) -> Iterator[Check]:
    """The script, the module, lua-socket, the socket and what listens on it."""
    yield from _script(app)
    yield _lua_socket()
    yield from _socket(app)
    yield _published(app)


def _script(app: App) -> Iterator[Check]:
    try:
        shown = app.slurm.info().settings.get("SLURM_CONF", "")
    except SlurmError:
        shown = ""
    conf = Path(app.environ.get("SLURM_CONF") or shown or "/etc/slurm/slurm.conf")
    script = conf.parent / "job_submit.lua"
    try:
        text = script.read_text(errors="replace")
    except FileNotFoundError:
        yield fail(
            "job_submit.lua",
            f"{script} does not exist",
            "copy job_submit.example.lua of `sgreend --files` there (on slurmctld's host)",
        )
        return
    except OSError as error:
        yield warn("job_submit.lua", f"{script}: {error.strerror}", "run this as root")
        return
    if "slurm_green" not in text:
        yield fail(
            "job_submit.lua",
            f"{script} does not call slurm-green",
            "call the module as job_submit.example.lua of `sgreend --files` does",
        )
        return
    yield ok("job_submit.lua", str(script))
    yield from _asked(text, app.config.paths.socket)
    named = re.search(r"[\"'](/[^\"']*slurm_green\.lua)[\"']", text)
    if named is None:
        yield warn("module", "the script names no absolute path to it", "see slurmctld's log")
    else:
        yield _module(Path(named[1]), script)


def _module(module: Path, script: Path) -> Check:
    """It loads its siblings, and an upgrade reaches none of them by itself."""
    from slurm_green.controller.install import hook_modules

    ours = {
        module if one.name == _MODULE else module.with_name(one.name): one for one in hook_modules()
    }
    for path in ours:
        if not os.access(path, os.R_OK):
            return fail("module", f"{path} cannot be read", "install it, readable by SlurmUser")
    if any(path.read_bytes() != one.read_bytes() for path, one in ours.items()):
        return warn(
            "module",
            f"{module} or one beside it is not this release's",
            f"sgreend --files {module.parent}, and touch {script}",
        )
    return ok("module", str(module))


def _asked(text: str, answering: Path) -> Iterator[Check]:
    """slurmctld reads no configuration of ours: a changed path must reach the script."""
    code = re.sub(r"--.*", "", text)
    if re.search(r"\bmode\s*=\s*[\"']published", code):
        return  # it asks nobody
    given = re.search(r"\bsocket\s*=\s*[\"']([^\"']+)[\"']", code)
    if given is None and re.search(r"\bsocket\b", code):
        return  # not a plain text: whoever wrote it knows
    asked = Path(given[1]) if given else Paths().socket
    if asked != answering:
        yield fail(
            "socket asked",
            f"the script asks {asked}, sgreend answers on {answering}",
            "name it as job_submit.example.lua of `sgreend --files` does",
        )


def _lua_socket() -> Check:
    lua = next((found for name in _LUA if (found := shutil.which(name))), None)
    if lua is None:
        # slurmctld embeds Lua; the interpreter itself need not be installed.
        places = ("/usr/share/lua/5.1/socket.lua", "/usr/local/share/lua/5.1/socket.lua")
        if any(Path(place).exists() for place in places):
            return ok("lua-socket", "installed for Lua 5.1")
        return warn("lua-socket", "no Lua here to try it with", "install lua-socket for Lua 5.1")
    try:
        tried = subprocess.run(
            [lua, "-e", "require 'socket'; require 'socket.unix'; print(_VERSION)"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return warn("lua-socket", f"{lua}: {error}", "install lua-socket for Lua 5.1")
    if tried.returncode == 0:
        return ok("lua-socket", f"loads in {tried.stdout.strip()}")
    return fail(
        "lua-socket", "does not load", "install lua-socket for the Lua slurmctld embeds (5.1)"
    )


def _socket(app: App) -> Iterator[Check]:
    path = app.config.paths.socket
    try:
        found = path.stat()
    except OSError as error:
        yield fail("socket", f"{path}: {error.strerror}", "start sgreend")
        return
    if not stat.S_ISSOCK(found.st_mode):
        yield fail("socket", f"{path} is no socket", "remove it and restart sgreend")
        return
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o002:
        yield fail("socket", f"{path} is open to everybody ({mode:04o})", "restart sgreend")
    else:
        yield ok("socket", f"{path}, mode {mode:04o}, uid {found.st_uid}")
    yield _ping(path, app.config.hook.timeout_ms / 1000)


def _ping(path: Path, timeout_s: float) -> Check:
    from slurm_green.hook.wire import PING, PONG

    began = time.perf_counter()
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(max(1.0, timeout_s))
            client.connect(str(path))
            client.sendall(PING)
            answer = client.recv(64)
    except PermissionError:
        return warn("sgreend", "its socket is not open to you", "run this as root or SlurmUser")
    except OSError as error:
        return fail("sgreend", f"does not answer: {error}", "restart sgreend; see its log")
    took_s = time.perf_counter() - began
    if answer != PONG:
        return fail("sgreend", f"answers {answer[:20]!r}", "something else listens there")
    if took_s > timeout_s:
        return warn(
            "sgreend",
            f"answered in {took_s * 1000:.1f} ms",
            f"that is over hook.timeout_ms = {timeout_s * 1000:.0f}: jobs pass undeferred",
        )
    return ok("sgreend", f"answers in {took_s * 1000:.1f} ms")


def _published(app: App) -> Check:
    path = app.config.paths.published
    try:
        age_s = app.now().timestamp() - path.stat().st_mtime
    except OSError as error:
        return warn("published file", f"{path}: {error.strerror}", "sgreend writes it each cycle")
    if age_s > most_age_s(app.config):
        return warn(
            "published file",
            f"{path} is {age_s:.0f} s old",
            "sgreend's cycle stands still: its log",
        )
    return ok("published file", f"{age_s:.0f} s old")
