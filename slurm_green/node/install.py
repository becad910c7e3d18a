# SPDX-License-Identifier: Apache-2.0
"""`sgreen-noded --files DIR`: what slurmd and systemd need, with this installation's paths."""

import shlex
from pathlib import Path

from slurm_green.config.node import NodeSection
from slurm_green.hook.node_files import CLIENT, node_files
from slurm_green.unit_files import place, systemd_command

__all__ = ["install"]


def install(directory: Path, settings: NodeSection, config: Path | None) -> list[Path]:
    """Write prolog.sh, epilog.sh, their client and the unit; returns them.

    BadInputError when the directory or a file in it cannot be.
    """
    directory = directory.absolute()
    texts = node_files(
        socket=shlex.quote(str(settings.run / "root.sock")),
        client=shlex.quote(str(directory / CLIENT)),
        noded=systemd_command("sgreen-noded", config),
    )
    return place(directory, texts)
