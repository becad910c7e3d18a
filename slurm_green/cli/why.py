# SPDX-License-Identifier: Apache-2.0
"""`sgreen why JOB`: one sentence, the numbers behind it, and where they come from."""

import click

from slurm_green.cli.app import App, pass_app
from slurm_green.cli.output import emit_json
from slurm_green.cli.params import JobRef, as_json, job_argument
from slurm_green.words import grams, length, saved, when


@click.command(name="why", short_help="Say in one sentence what happens to a job, and why.")
@job_argument
@as_json
@click.pass_context
@pass_app
def command(app: App, ctx: click.Context, job: JobRef, as_json: bool) -> None:
    """Say in one sentence what happens to JOB, and why; then the numbers behind it.

    JOB is a job id, or 123_4 for a task of an array. Works for every user from Slurm's own
    records, for running and finished jobs too. Exit status 1: Slurm knows no such job.
    """
    from slurm_green.cli.freshness import off_since, signal_now, silent_s
    from slurm_green.cli.jobs import clock_mhz_of, find, of_ours
    from slurm_green.cli.reasons import SENTENCES, why_let_go, why_not
    from slurm_green.cli.receipt import receipt_of
    from slurm_green.cli.shadowed import shadowed, thought_of
    from slurm_green.cli.story import tell, untouched
    from slurm_green.hook.record import energy_of

    config, now = app.config, app.now()
    found = find(app.slurm, job, now)
    if found is None:
        if as_json:
            emit_json({"job": str(job), "known": False})
        else:
            click.echo(
                f"Job {job} is unknown to Slurm: mistyped, older than accounting keeps, or "
                "another user's that the site keeps private.",
                err=True,
            )
        ctx.exit(1)
    one = of_ours(found, config)
    signal = signal_now(config, now)
    off = off_since(config) is not None
    silence = silent_s(config, now)
    if one is not None:
        reason, clause = why_let_go(one, config, off=off, now_utc=now)
        zone = config.general.zone
        story = tell(one, name=str(job), now_utc=now, zone=zone, let_go=clause, silent_s=silence)
    else:
        reason, clause = why_not(found, config, off=off, now_utc=now)
        if reason not in SENTENCES and (thought := thought_of(config, found)) is not None:
            reason, clause = "shadow", shadowed(thought, config.general.zone)
        story = untouched(found, name=str(job), why=clause)
    receipt, clock_mhz = receipt_of(config, found), clock_mhz_of(found, config)
    noted = energy_of(found.admin_comment)
    if as_json:
        emit_json(
            {
                "job": str(job),
                "known": True,
                "state": story.state,
                "reason": reason or None,
                "sentence": story.sentence,
                **story.numbers,
                "clock_mhz": clock_mhz,
                "gpus_energy_j": None if noted is None else noted[0],
                "gpus_energy_source": None if noted is None else noted[1],
                "signal_file": signal,
                "sgreend_silent_s": silence,
                "receipt": receipt,
            }
        )
        return
    click.echo(story.sentence)
    if one is not None:
        record, zone = one.record, config.general.zone
        age = "" if record.signal_age_s is None else f", {length(record.signal_age_s)} old then"
        # A look needs none, and of published decisions the record does not name it.
        source = f" on the signal of {record.signal}{age}" if record.signal else ""
        if story.state == "deferred" and config.hook.user_may_pull and not found.held:
            click.echo(f"`sgreen run-now {found.array_job_id or found.job_id}` starts it now.")
        click.echo(f"Decided {when(record.decided_utc, zone)} by {record.policy}{source}.")
    if clock_mhz is not None:
        click.echo(f"Its GPUs were to run at {clock_mhz} MHz at most, by its profile.")
    if signal is not None:
        click.echo(f"The signal is now {length(signal['age_s'])} old ({signal['provider']}).")
    if receipt is not None:
        task = "" if found.array_job_id is None else f" of task {receipt['job']} alone"
        words = f"Receipt{task} ({receipt['source']}): {receipt['energy_kwh']:.3g} kWh"
        words += f", {grams(receipt['carbon_g'])} of CO2e"
        if receipt["saved_g"] is not None:
            at_once = grams(receipt["carbon_now_g"])
            words += f"; started at once it had been {at_once}: {saved(receipt['saved_g'])}"
        click.echo(f"{words}.")
    elif noted is not None:
        click.echo(f"Its GPUs used {noted[0] / 3.6e6:.3g} kWh ({noted[1]}).")
