# SPDX-License-Identifier: Apache-2.0
"""`sgreen run-now JOB`: the user's own way out of a deferral."""

import click

from slurm_green.cli.app import App, pass_app
from slurm_green.cli.output import emit_json
from slurm_green.cli.params import JobRef, as_json, job_argument
from slurm_green.errors import BadInputError, SlurmError


@click.command(name="run-now", short_help="Start a deferred job of yours without waiting.")
@job_argument
@as_json
@pass_app
def command(app: App, job: JobRef, as_json: bool) -> None:
    """Take back the deferral of JOB: it becomes eligible now and is not deferred again.

    Works for the job's owner, where the site allows it, and for administrators. It is the same as
    `scontrol update JobId=JOB StartTime=now`.
    """
    from slurm_green.slurm.records import JobChange

    if job.task is not None:
        raise BadInputError(
            f"{job}: a pending array is one job with one begin time; "
            f"start all of it: sgreen run-now {job.job_id}"
        )
    now = app.now_s()
    found = next((one for one in app.slurm.jobs() if one.job_id == job.job_id), None)
    if found is None:
        raise SlurmError(f"job {job} is not in Slurm's queue; sgreen why {job} tells more")
    waiting = found.pending and found.eligible_utc is not None and found.eligible_utc > now
    if waiting:
        refused = app.slurm.update({job.job_id: JobChange(begin_utc=now)})
        if refused:
            raise SlurmError(
                f"Slurm refused to start job {job} now: {refused.get(job.job_id) or refused}. "
                "Only its owner or an administrator may, and the site must allow it "
                "(hook.user_may_pull)"
            )
    # Slurm lets users release what they hold themselves.
    freed = f"`scontrol release {job}` frees it"
    if found.reason.startswith("JobHeldAdmin"):
        freed = "by an administrator, who alone can free it"
    if as_json:
        emit_json(
            {"job": str(job), "changed": waiting, "slurm_state": found.state, "held": found.held}
        )
    elif waiting:
        turn = f"it is held, too: {freed}" if found.held else "Slurm starts it in its turn"
        click.echo(f"Job {job} is eligible now; {turn}.")
    else:
        state = found.state.lower()
        held = f" but held: {freed}" if found.held else ""
        click.echo(f"Job {job} waits for no begin time (it is {state}{held}); nothing to do.")
