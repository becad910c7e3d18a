# SPDX-License-Identifier: Apache-2.0
"""How a job was submitted, read back from `scontrol show job`, for the other site. Pure.

Slurm keeps neither the environment nor the quoting of arguments: a script that needs them says so
itself. `#SBATCH` lines stay in the script, and what is given here wins over them.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from slurm_green.errors import BadInputError, SlurmError
from slurm_green.migration.execute.comment import without_tokens
from slurm_green.migration.execute.record import Order
from slurm_green.migration.execute.site import Site, mapped

__all__ = ["fields_of", "order_of"]

# These take the rest of their line, whatever is in it.
_LONG = frozenset(
    {"Command", "WorkDir", "StdErr", "StdIn", "StdOut", "Comment", "AdminComment", "JobName"}
)
_NONE = frozenset({"", "(null)", "N/A", "0", "NONE"})
_WORD = re.compile(r"([A-Za-z][A-Za-z/:_]*)=(\S*)")
# What scontrol shows -> sbatch's option.
_PLAIN = {
    "TimeLimit": "--time",
    "NumNodes": "--nodes",
    "NumTasks": "--ntasks",
    "CPUs/Task": "--cpus-per-task",
    "QOS": "--qos",
    "Features": "--constraint",
    "MinMemoryNode": "--mem",
    "MinMemoryCPU": "--mem-per-cpu",
    "Licenses": "--licenses",
}
_GPUS = {
    "TresPerJob": "--gpus",
    "TresPerNode": "--gpus-per-node",
    "TresPerSocket": "--gpus-per-socket",
    "TresPerTask": "--gpus-per-task",
    "CpusPerTres": "--cpus-per-gpu",
    "MemPerTres": "--mem-per-gpu",  # in MB, as sbatch takes a plain number
}
_BESIDE = frozenset({"CpusPerTres", "MemPerTres"})
_SHARES = {"NO": "--exclusive", "USER": "--exclusive=user"}


def fields_of(text: str) -> dict[str, str]:
    """The fields of one `scontrol show job`."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, _, rest = line.strip().partition("=")
        if key == "JobId":
            number, _, name = rest.partition(" JobName=")
            found |= {"JobId": number, "JobName": name}
        elif key in _LONG:
            found[key] = rest.strip()
        else:
            found |= dict(_WORD.findall(line))
    return found


def order_of(text: str, script: str, source: Site, destination: Site) -> Order:
    """How to submit the job at the destination, with its paths and names there."""
    fields = fields_of(text)
    if "JobId" not in fields:
        raise SlurmError(f"{source.name}: scontrol showed no job: {text[:100]!r}")
    partitions = fields.get("Partition", "").split(",")  # of several the first to start it
    there = ",".join(destination.partitions.get(one, one) for one in partitions)
    options = [
        f"--job-name={fields['JobName']}",
        f"--partition={there}",
        *("--requeue", "--open-mode=append"),
    ]
    lines = _Lines(script)
    unasked = _unasked(fields, lines)
    for key, option in _PLAIN.items():
        if (value := fields.get(key, "")) not in _NONE and key not in unasked:
            options.append(f"{option}={value}")
    options += _layout(fields, lines, source, destination)
    if (deadline := fields.get("Deadline", "")) not in _NONE:
        options.append(f"--deadline={_time(deadline)}")
    options += _again(lines)
    account = destination.account or fields.get("Account", "")
    if account not in _NONE:
        options.append(f"--account={account}")
    options += _paths(fields, source, destination)
    return Order(
        options=tuple(options),
        comment=without_tokens(fields.get("Comment", "")),
        script=script,
        arguments=_arguments(fields),
    )


def _unasked(fields: Mapping[str, str], lines: "_Lines") -> set[str]:
    """What Slurm gives where nobody asks, and CPUs that come with GPUs.

    What is asked for stands in the job's environment: with SLURM_NTASKS there some programs leave
    it to srun to start their workers, and wait for them for ever.
    """
    found = set()
    least, _, most = fields.get("NumNodes", "").partition("-")
    # sbatch refuses GPUs by task where neither tasks nor one number of nodes is given.
    by_task = "gpu" in fields.get("TresPerTask", "") and most not in {"", least}
    if fields.get("NumTasks") == least and not (by_task or lines.have("--ntasks", "-n")):
        found.add("NumTasks")
    one = fields.get("CPUs/Task") == "1" and not lines.have("--cpus-per-task", "-c")
    if one or fields.get("CpusPerTres"):  # sbatch takes CPUs by one of the two
        found.add("CPUs/Task")
    return found


def _layout(
    fields: Mapping[str, str], lines: "_Lines", source: Site, destination: Site
) -> list[str]:
    """GPUs, what comes with each of them, and how tasks are spread over nodes."""
    found = []
    memory = any(fields.get(key, "") not in _NONE for key in ("MinMemoryNode", "MinMemoryCPU"))
    for key, option in _GPUS.items():
        if memory and key == "MemPerTres":
            continue  # a partition's default: sbatch takes memory by one of them
        if gpus := _gpus(key, fields.get(key, ""), source, destination):
            # The other way to ask for them would come on top of what the script says.
            by_gres = option == "--gpus-per-node" and lines.have("--gres")
            found.append(f"--gres=gpu:{gpus}" if by_gres else f"{option}={gpus}")
    if (tasks := fields.get("NtasksPerN:B:S:C", "").partition(":")[0]) not in {*_NONE, "*"}:
        found.append(f"--ntasks-per-node={tasks}")
    if share := _SHARES.get(fields.get("OverSubscribe", "")):
        found.append(share)
    return found


def _arguments(fields: Mapping[str, str]) -> tuple[str, ...]:
    """The words after the script, whose path may hold blanks: Slurm shows all of it unquoted."""
    command = fields.get("Command", "").removeprefix(f"{fields['WorkDir'].rstrip('/')}/")
    name = fields["JobName"]  # the script's own, where no other was given
    if f"{command} ".startswith(f"{name} "):
        return tuple(command[len(name) :].split())
    return tuple(command.split()[1:])


class _Lines:
    """What the `#SBATCH` lines of a script ask for."""

    def __init__(self, script: str) -> None:
        lines = [one.partition(" #")[0] for one in script.splitlines() if one.startswith("#SBATCH")]
        self._words = [word.partition("=")[0] for line in lines for word in line.split()[1:]]

    def have(self, option: str, short: str = " ") -> bool:
        """In any spelling that sbatch takes."""
        return any(
            word.startswith(short) or (len(word) > 2 and option.startswith(word))
            for word in self._words
        )


def _again(lines: _Lines) -> list[str]:
    """Against lines that would count once more there; here they were over."""
    if lines.have("--clusters", "-M"):
        raise BadInputError(
            "the job's script names the clusters that it is for (#SBATCH --clusters)"
        )
    over = (("--begin", "-b", "now"), ("--dependency", "-d", ""))
    return [f"{option}={value}" for option, short, value in over if lines.have(option, short)]


def _time(value: str) -> str:
    """As sbatch takes it: we let scontrol print seconds since 1970, and run sbatch in UTC."""
    if not value.isdecimal():
        return value
    return datetime.fromtimestamp(int(value), UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _paths(fields: Mapping[str, str], source: Site, destination: Site) -> list[str]:
    found = [f"--chdir={mapped(fields['WorkDir'], source, destination)}"]
    for key, option in (("StdOut", "--output"), ("StdErr", "--error"), ("StdIn", "--input")):
        value = fields.get(key, "")
        if value in _NONE or (value == fields.get("StdOut") and key == "StdErr"):
            continue
        path = value if value.startswith("/dev/") else mapped(value, source, destination)
        found.append(f"{option}={path}")
    return found


def _gpus(key: str, value: str, source: Site, destination: Site) -> str:
    """`gres:gpu:h100:2` or `gres/gpu:h100:2` as the options write it; "" where there are none.

    Newer versions name `cpu=` there as well, which stands in CPUs/Task; of what comes with each GPU
    a mere `gpu:4` is what a partition gives to who does not ask. What was asked for in two ways
    stands there twice.
    """
    unasked = ("cpu=", "gpu:") if key in _BESIDE else ("cpu=",)
    items = [one for one in dict.fromkeys(value.split(",")) if not one.startswith(unasked)]
    if not items or items[0] in _NONE:
        return ""
    if len(items) > 1 or not re.match(r"gres[:/]gpu\b", items[0]):
        raise SlurmError(f"{source.name}: {key}={value}: a move knows GPUs only")
    kind, _, count = items[0][len("gres:gpu") :].removeprefix(":").partition(":")
    there = destination.gpu_types.get(kind, kind)  # where no type is asked for, `kind` is the count
    return ":".join(filter(None, (there, count))) or "1"
