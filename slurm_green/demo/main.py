# SPDX-License-Identifier: Apache-2.0
"""`make demo`: brings a site up, lets a batch of jobs through an example day, shows the account.

Exit status: 0 when the story happened as told, 1 when it did not (or something failed), 2 on bad
input, 130 when somebody pressed Ctrl-C. Whatever happens, nothing is left running.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from slurm_green.cluster.clocks import GpuNow, clocks_of
from slurm_green.cluster.noded import has_noded
from slurm_green.controller.build import build_provider
from slurm_green.demo import tale
from slurm_green.demo.account import Line, lines_of, problems, summary
from slurm_green.demo.batch import BATCH, Submitted, submit
from slurm_green.demo.clocks import Seen, clock_lines, clock_problems, clock_summary
from slurm_green.demo.gpus import full_clock_mhz
from slurm_green.demo.page import html_page
from slurm_green.demo.plot import draw
from slurm_green.demo.screen import LiveScreen, PlainScreen, Screen
from slurm_green.demo.site import Site, site
from slurm_green.demo.watch import Row, rows_of
from slurm_green.errors import BadInputError, ClusterError, LedgerError, SlurmGreenError
from slurm_green.ledger.energy import MODELLED
from slurm_green.ledger.entries import Decision, NodeEnergy, Query
from slurm_green.ledger.fifo import Capacity
from slurm_green.ledger.report import Report, build_report
from slurm_green.ledger.store import Store
from slurm_green.signals.series import Series

__all__ = ["main"]

_LOOK_S = 0.7
_PATIENCE_S = 170.0
_LEDGER_S = 20.0


def main(home: Path, argv: Sequence[str] | None = None) -> int:
    """Run the demo whose job scripts and carbon day lie in `home`."""
    options = _options(argv)
    console = Console(stderr=options.as_json, highlight=False)
    if not console.is_terminal:
        # A log has no edge; rich takes 80 columns where nobody says.
        console = Console(stderr=options.as_json, highlight=False, width=120)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupted)
    began_s = time.monotonic()
    try:
        result, wrong = _run(home, options.output.absolute(), console, live=_live(console))
    except KeyboardInterrupt:
        console.print("Interrupted; everything of the demo has been taken down.")
        return 130
    except (SlurmGreenError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2 if isinstance(error, BadInputError) else 1
    wall_s = time.monotonic() - began_s
    if options.as_json:
        print(json.dumps({**result, "problems": wrong, "wall_s": wall_s}, default=tale.plain))
    tale.farewell(console, result["files"], wrong, wall_s)
    return 1 if wrong else 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="demo",
        description="A real Slurm, real jobs, an example carbon day of two minutes.",
    )
    parser.add_argument("--json", dest="as_json", action="store_true", help="a summary on stdout")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("build/demo"),
        help="where the picture and the page go (default: %(default)s)",
    )
    return parser.parse_args(argv)


def _interrupted(number: int, _: Any) -> None:
    # Once: a second Ctrl-C must not leave half of the cluster behind.
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_IGN)
    raise KeyboardInterrupt


def _live(console: Console) -> bool:
    unicode = (console.encoding or "").lower().startswith("utf")
    return console.is_terminal and unicode and not os.environ.get("CI")


def _run(
    home: Path, output: Path, console: Console, *, live: bool
) -> tuple[dict[str, Any], list[str]]:
    output.mkdir(parents=True, exist_ok=True)
    trace = home.absolute() / "carbon-day.csv"
    tale.opening(console)
    with site(trace, progress=lambda text: console.print(f"  {text}", style="dim")) as one:
        tale.stage(console, one)
        batch = []
        for wish in BATCH:
            batch.append(submit(one.cluster, wish, home.absolute() / "jobs"))
            tale.submitted(console, batch[-1])
        provider = build_provider(one.config)
        screen: Screen = PlainScreen(console=console, clock=one.clock)
        if live:
            screen = LiveScreen(console=console, clock=one.clock, start_utc=batch[0].at_utc)
        seen = Seen()
        rows = _watch(one, batch, screen, seen)
        series = provider.fetch(datetime.now(UTC))
        report, decisions, energies = _report(one, rows)
        lines = lines_of(rows, report, series)
        clocks = clock_lines(rows, seen, energies) if has_noded(one.cluster.spec) else []
        texts = _told(one, batch)
        tale.receipts(console, lines, report, one.clock)
        tale.clocks(console, clocks, one.config.nodes.max_slowdown)
        for command, text in texts:
            tale.printed(console, command, text)
        files = _write(output, lines, report, series, one, texts)
        wrong = problems(lines, report, decisions)
        wrong += clock_problems(clocks, _gpus(one), full_mhz=full_clock_mhz())
        if wrong:
            files |= _keep_logs(one, output)
        result = {
            **summary(lines, report),
            **clock_summary(clocks),
            "cluster": one.cluster.name,
            "slurm_version": one.cluster.version,
            "files": files,
        }
        console.print("Taking everything down ...", style="dim")
    return result, wrong


def _watch(one: Site, batch: list[Submitted], screen: Screen, seen: Seen) -> list[Row]:
    """Look again and again until every job is over."""
    provider = build_provider(one.config)
    rows: list[Row] = []
    deadline_s = time.monotonic() + _PATIENCE_S
    with screen:
        while not rows or not all(row.over for row in rows):
            if time.monotonic() > deadline_s:
                left = ", ".join(row.submitted.name for row in rows if not row.over)
                raise ClusterError(f"not over after {_PATIENCE_S:.0f} s: {left}")
            if one.daemon.poll() is not None:
                raise ClusterError(f"sgreend ended; see {one.daemon_log}")
            jobs = one.client.jobs()
            seen.look(jobs, _gpus(one))
            now = datetime.now(UTC)
            rows = rows_of(batch, jobs, hold_s=one.config.hook.hold_s, before=rows)
            screen.show(rows, provider.fetch(now), now)
            time.sleep(_LOOK_S)
    return rows


def _gpus(one: Site) -> list[GpuNow]:
    return clocks_of(one.cluster.layout, one.cluster.spec) or []


def _report(one: Site, rows: Sequence[Row]) -> tuple[Report, list[Decision], list[NodeEnergy]]:
    """The ledger's report, decisions and energies, once sgreend has written every receipt."""
    counted = has_noded(one.cluster.spec)
    wanted = sum(row.tasks for row in rows)
    spec = one.cluster.spec
    capacity = Capacity(gpus=spec.nodes * spec.gpus, cpus=spec.nodes * spec.cpus)
    deadline_s = time.monotonic() + _LEDGER_S
    while True:
        with Store(one.config.paths.ledger, readonly=True) as store:
            jobs = store.jobs(Query())
            have = [job for job in jobs if job.energy_j is not None]
            # A node's joules come after the job's end; without them the story is told as it is.
            told = [job for job in have if job.energy_source != MODELLED] if counted else have
            over = time.monotonic() > deadline_s
            if len(told) >= wanted or (over and len(have) >= wanted):
                decisions = store.decisions(Query())
                report = build_report(
                    jobs,
                    decisions,
                    signal=store.signal,
                    power=one.config.power_model(),
                    capacity=capacity,
                )
                return report, decisions, store.energies(Query())
        if over:
            raise LedgerError(f"{len(jobs)} of {wanted} receipts are in the ledger")
        time.sleep(0.3)


def _told(one: Site, batch: Sequence[Submitted]) -> list[tuple[str, str]]:
    """What the user's commands say afterwards."""
    chosen = {"train-llm", "impossible"}
    calls = [("why", str(job.job_id)) for job in batch if job.name in chosen] + [("report",)]
    return [(f"sgreen {' '.join(call)}", one.sgreen(*call)) for call in calls]


def _write(
    output: Path,
    lines: Sequence[Line],
    report: Report,
    series: Series,
    one: Site,
    texts: Sequence[tuple[str, str]],
) -> dict[str, Path]:
    """The picture and the page."""
    png, page = output / "demo.png", output / "demo.html"
    headline = tale.headline(report)
    draw(png, lines, series, one.clock, headline=headline)
    page.write_text(
        html_page(
            png=png.read_bytes(), headline=headline, lines=lines, clock=one.clock, texts=texts
        ),
        encoding="utf-8",
    )
    return {"png": png, "html": page}


def _keep_logs(one: Site, output: Path) -> dict[str, Path]:
    """What to look at when the story did not happen; the cluster's directory will be gone."""
    kept = {}
    for log in (one.daemon_log, one.cluster.slurmctld_log):
        kept[log.name] = Path(shutil.copy(log, output))
    return kept
