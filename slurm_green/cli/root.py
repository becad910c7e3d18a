# SPDX-License-Identifier: Apache-2.0
"""The root command `sgreen`: finds verbs by name, imports one only when it is used.

Own verbs stand in a table with their one line of help, so that `sgreen --help` imports none of
them; other packages bring theirs by the entry-point group `slurm_green.commands`.
"""

import difflib
import importlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import click

from profiling.errors import ProfilingError
from slurm_green import __version__
from slurm_green.cli.app import App
from slurm_green.errors import BadInputError, SlurmGreenError

__all__ = ["GROUP", "OWN", "Root", "main", "root"]

GROUP = "slurm_green.commands"

# Verb -> (module that has it as `command`, its short help; a test keeps the two equal).
OWN = {
    "cluster": ("slurm_green.cli.cluster", "Run a real Slurm with emulated GPUs on this machine."),
    "config": ("slurm_green.cli.config", "Show, check or explain the configuration."),
    "doctor": ("slurm_green.cli.doctor", "Check that everything needed is in place."),
    "fetch": ("slurm_green.cli.fetch", "Fetch signals, make forecasts, write the signal files."),
    "forecast": ("slurm_green.cli.forecast", "Show the signals that decisions rest on."),
    "migrate": ("slurm_green.cli.migrate", "Judge and make moves of jobs to a greener site."),
    "off": ("slurm_green.cli.off", "Stop deferring; with --release-all, undo what was done."),
    "on": ("slurm_green.cli.on", "Defer again after `sgreen off`."),
    "plan": ("slurm_green.cli.plan", "Plan jobs over the next days, with a proof."),
    "policy": ("slurm_green.cli.policy", "List the policies that a replay knows."),
    "profile": ("profiling.cli.root", "Measure, fit, show and draw GPU profiles."),
    "queue": ("slurm_green.cli.queue", "List the jobs that carry a decision of ours."),
    "replay": ("slurm_green.cli.replay", "Replay policies on the same jobs and signals."),
    "report": ("slurm_green.cli.report", "Report energy and carbon of a period."),
    "restore": ("slurm_green.cli.restore", "Give GPUs of this node back to the site's default."),
    "route": ("serving.cli.route", "Route requests to vLLM replicas at many sites."),
    "route-replay": (
        "serving.cli.route_replay",
        "Replay requests over sites with varying power.",
    ),
    "run-now": ("slurm_green.cli.run_now", "Start a deferred job of yours without waiting."),
    "serve": ("serving.cli.serve", "Serve a model with vLLM, its clocks by its SLO."),
    "serve-replay": ("serving.cli.serve_replay", "Replay requests under several clock policies."),
    "signal": ("slurm_green.cli.signal", "Explain the signals: who was asked, what is believed."),
    "site": ("serving.cli.site", "Size sites whose power varies."),
    "why": ("slurm_green.cli.why", "Say in one sentence what happens to a job, and why."),
}

# A verb or the root called with nothing: its help, not a complaint (known to click 8.2 and newer).
_NO_ARGS: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())


class Root(click.Group):
    """A group that loads its verbs lazily and prints our errors as one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs, other packages' included."""
        return sorted({*OWN, *_others()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one verb."""
        if cmd_name in OWN:
            return _loaded(importlib.import_module(OWN[cmd_name][0]).command)
        other = _others().get(cmd_name)
        return None if other is None else _loaded(other.load())

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest a verb for one that is not known."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            close = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise click.UsageError(f"{error.format_message()}{hint}", ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of verbs, without importing ours."""
        rows = []
        for name in self.list_commands(ctx):
            text = OWN[name][1] if name in OWN else ""
            if not text and (command := self.get_command(ctx, name)) is not None:
                text = command.get_short_help_str(80)
            rows.append((name, text))
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run; a person sees one line for what went wrong, never a traceback of ours."""
        run = partial(
            super().main,
            args,
            prog_name,
            complete_var,
            standalone_mode=False,
            windows_expand_args=windows_expand_args,
            **extra,
        )
        if not standalone_mode:
            return run()
        sys.exit(_guarded(run))


def _guarded(run: Callable[[], Any]) -> int:
    """The exit status of a run: 0, 1 for a failure, 2 for bad input."""
    try:
        status = run()
        return status if isinstance(status, int) else 0
    except click.ClickException as error:
        if isinstance(error, _NO_ARGS):
            click.echo(error.format_message(), err=True)
            return 2
        if isinstance(error, click.UsageError) and error.ctx is not None:
            return _complain(f"{error.format_message()} Try '{error.ctx.command_path} --help'.", 2)
        return _complain(error.format_message(), error.exit_code)
    except BadInputError as error:
        return _complain(str(error), 2)
    except SlurmGreenError as error:
        return _complain(str(error), 1)
    except ProfilingError as error:
        return _complain(str(error), error.exit_status)
    except OSError as error:  # a full disk under stdout, a directory that may not be entered
        where = "" if error.filename is None else f"{error.filename}: "
        _give_up_stdout()
        return _complain(f"{where}{error.strerror or error}", 1)
    except click.Abort:
        return 130


def _complain(text: str, status: int) -> int:
    click.echo(f"sgreen: {' '.join(text.split())}", err=True)
    return status


def _give_up_stdout() -> None:
    """What cannot be written is not tried again at exit, where Python would complain once more."""
    if sys.stdout is None:  # closed by whoever called us
        return
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _loaded(found: object) -> click.Command:
    if not isinstance(found, click.Command):
        raise SlurmGreenError(f"a verb of the group {GROUP} is no click command: {found!r}")
    return found


def _others() -> dict[str, Any]:
    """Verbs of other packages; looked up only for help and for a name that is not ours."""
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=GROUP) if point.name not in OWN}


@click.group(
    cls=Root,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "--version", prog_name="sgreen", message="%(prog)s %(version)s")
@click.pass_context
def root(ctx: click.Context) -> None:
    """Run Slurm jobs when power is clean.

    Every verb has --help. Verbs with --json print one JSON object and nothing else. Exit status:
    0 success, 1 failure, 2 bad input.
    """
    if ctx.obj is None:
        ctx.obj = App()
    if ctx.obj.environ.get("NO_COLOR"):
        ctx.color = False


def main() -> None:
    """Entry point of `sgreen`."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever called us
            devnull = Path(os.devnull).open("w", errors="backslashreplace")  # noqa: SIM115
            setattr(sys, name, devnull)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        # A name that the locale's encoding lacks is no reason to fail.
        sys.stdout.reconfigure(errors="backslashreplace")
    root(prog_name="sgreen")
