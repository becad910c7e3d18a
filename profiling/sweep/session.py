# SPDX-License-Identifier: Apache-2.0
"""One `sgreen profile run`: opens the GPUs, sweeps, and writes the profile's directory.

The trap: a journal that has windows goes only when the profile is there, and what is owed to a GPU
stays written down until it was paid.
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from profiling.device.apply import Setting
from profiling.device.journal import Journal
from profiling.device.lease import restore_left
from profiling.errors import ProfileError
from profiling.files import write_profile
from profiling.sweep.hardware import Hardware, opened
from profiling.sweep.journal import SweepJournal
from profiling.sweep.result import profile_of, said_beside
from profiling.sweep.rig import Rig
from profiling.sweep.run import Options, Shown, sweep
from profiling.sweep.signals import ended_by_signals
from profiling.sweep.workloads import Chosen, open_workload
from profiling.whole import check_new

__all__ = ["OWED", "Session"]

OWED = Path("/var/lib/slurm-green-node/journal")  # sgreen-noded's, which also pays


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What is swept and where it goes; `date` is None where the profile must not tell."""

    out: Path
    which: str
    chosen: Chosen
    options: Options
    date: str | None
    library: Path | None = None
    emulate: str | None = None
    owed: Path | None = None
    default: Setting = field(default_factory=Setting)
    warn: Callable[[str], None] = lambda text: None

    def run(
        self, *, resume: bool = False, shown: Shown = lambda done, total, text: None
    ) -> dict[str, Any]:
        """Sweep and write; what is said beside the profile.

        Raises ProfilingError, and Stopped after SIGINT or SIGTERM; clocks are put back first.
        """
        check_new(self.out)
        journal, bench, owed = (
            self.out.with_name(f"{self.out.name}.sweep{end}")
            for end in (".jsonl", ".gpus", ".owed")
        )
        try:
            with (
                ended_by_signals(),
                opened(
                    self.which, library=self.library, emulate=self.emulate, state=bench
                ) as hardware,
            ):
                said = self._swept(
                    hardware, journal, self.owed if self.emulate is None else owed, resume, shown
                )
            journal.unlink()
        finally:
            # Emulated GPUs live as long as the sweep that is on them.
            if self.emulate is not None and not journal.exists():
                bench.unlink(missing_ok=True)
                shutil.rmtree(owed, ignore_errors=True)
        return said

    def _swept(
        self,
        hardware: Hardware,
        journal_path: Path,
        owed_path: Path | None,
        resume: bool,
        shown: Shown,
    ) -> dict[str, Any]:
        gpus = hardware.gpus
        identities = [one.identity for one in gpus]
        asked = {**asdict(self.chosen), **asdict(self.options)}
        header = {
            "gpus": [one.uuid for one in identities],
            "gpu_name": identities[0].name,
            "driver": identities[0].driver,
            **asked,
        }
        with SweepJournal(journal_path, header, resume=resume) as journal:
            owed = self._owed(owed_path)
            if owed is not None:
                for sentence in restore_left(owed, hardware.every, self.default):
                    self.warn(f"not put back: {sentence}")
            with Rig(gpus, hardware.time, owed, self.default) as rig:
                swept = sweep(
                    rig, lambda: open_workload(self.chosen, hardware), self.options, journal, shown
                )
            profile = profile_of(
                swept,
                identities[0],
                date=self.date,
                command=f"sgreen profile run --workload {self.chosen.workload}",
            )
            said = said_beside(swept, identities, asked)
            said["points"] = len(profile.inference) + len(profile.training)
            if not said["points"]:
                why = next((one["why"] for one in (*said["left_out"], *said["failed"])), "")
                raise ProfileError(f"no window was good ({why}); they stand in {journal_path}")
            files = {
                "sweep.json": json.dumps(said, indent=2) + "\n",
                "windows.jsonl": journal_path.read_text(encoding="utf-8"),
            }
            write_profile(self.out, profile, files)
        return said

    def _owed(self, path: Path | None) -> Journal | None:
        """Where to write what is owed; None for who may set no clock anyway."""
        if path is None and os.geteuid() != 0:
            return None
        return Journal(path or OWED)
