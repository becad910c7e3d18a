# SPDX-License-Identifier: Apache-2.0
"""What slurmd and systemd run on a GPU node, with the paths of an installation in it."""

import re
from pathlib import Path

__all__ = ["CLIENT", "node_files"]

CLIENT = "prolog_client.py"
_HERE = Path(__file__).parent
_UNIT = "slurm-green-noded.service"


def node_files(
    *,
    socket: str,
    client: str,
    python: str = "/usr/bin/python3",
    noded: str = "/usr/bin/sgreen-noded",
) -> dict[str, str]:
    """prolog.sh, epilog.sh, their client and the unit, by name.

    `socket`, `client` and `python` are words of a shell, `noded` is a command of systemd's.
    """
    lines = {"SOCKET": socket, "CLIENT": client, "PYTHON": python}
    texts = {name: _text(name) for name in ("prolog.sh", "epilog.sh", CLIENT, _UNIT)}
    for name in ("prolog.sh", "epilog.sh"):
        for key, word in lines.items():
            texts[name] = _with_line(texts[name], key, word)
    texts[_UNIT] = texts[_UNIT].replace("=/usr/bin/sgreen-noded", f"={noded}")
    return texts


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _with_line(text: str, key: str, word: str) -> str:
    return re.sub(rf"^{key}=.*$", lambda _: f"{key}={word}", text, flags=re.MULTILINE)
