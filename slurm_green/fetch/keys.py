# SPDX-License-Identifier: Apache-2.0
"""Keys of providers: from a file of their own, never from the configuration, never shown."""

import stat
from pathlib import Path

from slurm_green.errors import ConfigError

__all__ = ["KeyFileError", "read_key"]

_MOST = 4096


class KeyFileError(ConfigError):
    """The file with a provider's key cannot be used; the next provider can."""


def read_key(path: Path | None, *, name: str) -> str:
    """The key in the file that setting `name` names; no error of it says what the key is."""
    if path is None:
        raise KeyFileError(f"{name} is not set; it names the file with the key")
    try:
        mode = path.stat().st_mode
        text = path.read_bytes()[: _MOST + 1].decode("ascii").strip()
    except OSError as error:
        raise KeyFileError(f"{name}: {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise KeyFileError(f"{name}: {path} holds no plain text") from error
    if stat.S_IMODE(mode) & 0o007:
        raise KeyFileError(f"{name}: {path} is open to everybody; chmod o= {path}")
    if len(text.split()) != 1 or len(text) > _MOST or not text.isprintable():
        raise KeyFileError(f"{name}: {path} holds no key of one word")
    return text
