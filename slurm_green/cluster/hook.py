# SPDX-License-Identifier: Apache-2.0
"""The job_submit.lua of a demo or test cluster: the smallest file that calls our shim safely."""

from pathlib import Path

from slurm_green.cluster.layout import Layout
from slurm_green.unit_files import lua_string

__all__ = ["job_submit", "shim_path"]

_TEXT = """\
-- SPDX-License-Identifier: Apache-2.0
-- Made by `sgreen cluster up --hook`: whatever happens in the shim, the job is accepted as it was.
local found, green = pcall(dofile, {shim})
if found then
    found, green = pcall(function()
        green.configure{{
            socket = {socket},
            published = {published},
            timeout_s = {timeout_s},
        }}
        return green
    end)
end
if not found then
    slurm.log_error("slurm-green: hook off, jobs pass unchanged: %s", tostring(green))
end

local function ask(name, ...)
    if not found then
        return slurm.SUCCESS
    end
    local fine, answer = pcall(green[name], ...)
    if fine and type(answer) == "number" then
        return answer
    end
    if not fine then
        slurm.log_error("slurm-green: %s failed, job unchanged: %s", name, tostring(answer))
    end
    return slurm.SUCCESS
end

function slurm_job_submit(job_desc, part_list, submit_uid)
    return ask("submit", job_desc, part_list, submit_uid)
end

function slurm_job_modify(job_desc, job_rec, part_list, modify_uid)
    return ask("modify", job_desc, job_rec, part_list, modify_uid)
end

return slurm.SUCCESS
"""


def shim_path() -> Path:
    """The Lua module that comes with this package."""
    return Path(__file__).resolve().parent.parent / "slurm" / "slurm_green.lua"


def job_submit(layout: Layout, *, shim: Path | None = None, timeout_s: float = 1.0) -> str:
    """The script's text for that cluster.

    A site's 50 ms are for a host of its own: here nodes, jobs and tests share the machine.
    """
    return _TEXT.format(
        shim=lua_string(shim or shim_path()),
        socket=lua_string(layout.hook_socket),
        published=lua_string(layout.hook_published),
        timeout_s=timeout_s,
    )
