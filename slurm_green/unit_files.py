# SPDX-License-Identifier: Apache-2.0
"""Files that systemd and Slurm run, written to a directory with this installation's paths."""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from profiling.errors import ProfileError
from profiling.whole import write_file
from slurm_green.errors import BadInputError

__all__ = ["lua_string", "place", "systemd_command", "systemd_word"]


def systemd_command(name: str, config: Path | None) -> str:
    """This installation's command, with `--config` where there is one, as systemd reads it."""
    words = [str(Path(sys.executable).with_name(name))]
    words += [] if config is None else ["--config", str(config.absolute())]
    return " ".join(map(systemd_word, words))


def place(directory: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write the texts by name, scripts executable; returns the paths.

    BadInputError when the directory or a file in it cannot be.
    """
    written = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            path = directory / name
            write_file(path, text.encode())
            path.chmod(0o755 if name.endswith(".sh") else 0o644)
            written.append(path)
    except OSError as error:
        raise BadInputError(f"--files {directory}: {error.strerror}") from error
    except ProfileError as error:
        raise BadInputError(f"--files {error}") from error
    return written


def systemd_word(text: str) -> str:
    """One word of a command or a list of paths in a unit."""
    # Its quotes are C's, not the shell's, and it replaces % and $ in quotes too.
    plain = re.fullmatch(r"[\w./@:+-]+", text)
    return text if plain else json.dumps(text).replace("%", "%%").replace("$", "$$")


def lua_string(path: Path) -> str:
    """A path as Lua source; decimal escapes for what could end the string."""
    return '"' + "".join(c if c not in '"\\\n' else f"\\{ord(c):03d}" for c in str(path)) + '"'
