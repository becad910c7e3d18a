# SPDX-License-Identifier: Apache-2.0
"""`sgreen-noded --files DIR`: what slurmd and systemd need, with this installation's paths."""

import json
import re
import shlex
import sys
from pathlib import Path

from profiling.whole import write_file
from slurm_green.config.node import NodeSection
from slurm_green.errors import BadInputError
from slurm_green.hook.node_files import CLIENT, node_files

__all__ = ["install"]


def install(directory: Path, settings: NodeSection, config: Path | None) -> list[Path]:
    """Write prolog.sh, epilog.sh, their client and the unit; returns them.

    BadInputError when the directory cannot be; ProfileError when a file cannot be written.
    """
    directory = directory.absolute()
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(f"--files {directory}: {error.strerror}") from error
    command = [str(Path(sys.executable).with_name("sgreen-noded"))]
    command += [] if config is None else ["--config", str(config.absolute())]
    texts = node_files(
        socket=shlex.quote(str(settings.run / "root.sock")),
        client=shlex.quote(str(directory / CLIENT)),
        noded=" ".join(map(_systemd_word, command)),
    )
    written = []
    for name, text in texts.items():
        path = directory / name
        write_file(path, text.encode())
        path.chmod(0o755 if name.endswith(".sh") else 0o644)
        written.append(path)
    return written


def _systemd_word(text: str) -> str:
    # Its quotes are C's, not the shell's, and it replaces % and $ in quotes too.
    plain = re.fullmatch(r"[\w./@:+-]+", text)
    return text if plain else json.dumps(text).replace("%", "%%").replace("$", "$$")
