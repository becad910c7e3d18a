# SPDX-License-Identifier: Apache-2.0
"""Whether a job can be moved at all, asked before anything of it is touched.

Slurm at the destination judges most: `sbatch --test-only` with the very options says whether
partition, account, GPU type and limits fit. We ask for the rest on a node of each site.
"""

from datetime import timedelta
from pathlib import PurePosixPath

from slurm_green.errors import BadInputError, SlurmError
from slurm_green.hook.record import Record, parse
from slurm_green.migration.execute.commands import CommandAccess
from slurm_green.migration.execute.comment import Declared, declared
from slurm_green.migration.execute.record import Order
from slurm_green.slurm.records import Job

__all__ = ["check_job", "check_sites", "why_not_movable"]

_HOLD = timedelta(minutes=5)  # `hook.hold` is no longer: until then sgreend may not have seen it
_ARRIVAL = timedelta(minutes=1)  # a release may be under way for so long
_TOOLS = ("find", "b2sum", "sort", "xargs", "df", "awk")
# $1 the root, $2 the directory that will hold the checkpoint, then commands that must be there.
# What a site's prologs print comes before the mark.
_MARK = "sgreen-asked"
_ASK = f"""echo {_MARK}
echo "$(id -u) $(id -g)"
root=$1 parent=$2; shift 2
while [ ! -d "$parent" ]; do parent=$(dirname -- "$parent"); done
if [ ! -d "$root" ]; then echo rootless; elif [ -w "$parent" ]; then echo yes; else echo no; fi
df -B1 --output=avail -- "$parent" | tail -n 1
for one; do command -v "$one" >/dev/null || echo "$one"; done"""


def why_not_movable(job: Job) -> str:
    """Why no move of this job can be thought of; "" where one can."""
    if job.array_job_id is not None:
        return "it is part of an array; arrays stay where they were submitted"
    if job.het_job_id is not None:
        return "it is a heterogeneous job"
    if not job.batch:
        return "it is interactive: only a batch job can be started again"
    if not job.requeue:
        return "it may not be requeued: --requeue allows it"
    if job.dependency:
        return "it depends on jobs of its cluster"
    if job.held:
        return "it is held"
    if job.pending and job.reason == "BeginTime" and not _deferred(job):
        return "it waits for the begin time that was asked for"
    if not (job.pending or job.state == "RUNNING"):
        return f"it is {job.state}"
    try:
        found = declared(job.comment)
    except BadInputError as error:
        return str(error)
    return "" if found else "its comment has no green:checkpoint=DIR"


def _deferred(job: Job) -> bool:
    """Whether its begin time is ours: then nobody asked for one."""
    found = (parse(text) for text in (job.admin_comment, job.extra))
    return any(record is not None and _ours(job, record) for record in found)


def _ours(job: Job, record: Record) -> bool:
    """Not one that somebody set since, whom sgreend leaves alone, too."""
    begin = job.eligible_utc
    return begin is not None and (
        begin == record.latest_utc
        or record.decided_utc <= begin <= record.decided_utc + _HOLD
        or record.start_utc <= begin <= record.start_utc + _ARRIVAL
    )


def check_job(job: Job) -> Declared:
    """What its user declared; raises BadInputError where the job cannot be moved."""
    if why := why_not_movable(job):
        raise BadInputError(f"job {job.job_id} cannot be moved: {why}")
    found = declared(job.comment)
    assert found is not None
    return found


def check_sites(
    source: CommandAccess,
    destination: CommandAccess,
    *,
    directory: str,
    target: str,
    order: Order | None,
    store: bool = False,
) -> int:
    """Raise BadInputError for what is missing; the bytes that are free at the destination."""
    tools = _TOOLS if store else (*_TOOLS, "rsync")
    here = _asked(source, directory, tools)
    there = _asked(destination, target, (*tools, *destination.site.software))
    for access, said in ((source, here), (destination, there)):
        if said[3:]:
            raise BadInputError(f"site {access.name}: its nodes have no {', '.join(said[3:])}")
        if said[1] == "rootless":
            root = access.site.root
            raise BadInputError(f"site {access.name}: its nodes have no directory {root} (`root`)")
        if store:
            _ask_fsspec(access)
    if here[0] != there[0]:
        raise BadInputError(
            f"site {destination.name}: you are uid and gid {there[0]} there and {here[0]} at"
            f" {source.name}; your files would not be yours"
        )
    if here[1] != "yes":  # the mark of the move, and what its transfers say
        raise BadInputError(f"site {source.name}: you cannot write beside {directory}")
    if there[1] != "yes":
        raise BadInputError(f"site {destination.name}: you cannot write where {target} would be")
    if order is not None:
        _test(destination, order)
    return int(there[2])


def _asked(access: CommandAccess, directory: str, tools: tuple[str, ...]) -> list[str]:
    beside = str(PurePosixPath(directory).parent)
    said = access.shell(_ASK, access.site.root, beside, *tools)
    lines = [line.strip() for line in said.splitlines()]
    if _MARK not in lines:
        raise SlurmError(f"{access.name}: a node answered {said[-200:]!r}")
    return lines[lines.index(_MARK) + 1 :]


def _ask_fsspec(access: CommandAccess) -> None:
    try:
        access.shell('"$1" -c "import fsspec"', access.site.python)
    except SlurmError as error:
        raise BadInputError(
            f"site {access.name}: {access.site.python} on its nodes has no fsspec, which the link's"
            " `store` needs; set `python` of the site"
        ) from error


def _test(destination: CommandAccess, order: Order) -> None:
    try:
        destination.test(order)
    except SlurmError as error:
        raise BadInputError(f"the job does not fit site {error}") from error
