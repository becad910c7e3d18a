# SPDX-License-Identifier: Apache-2.0
"""The shell scripts that touch a job's files; directories come as $1 and $2, never in the text.

POSIX sh with GNU find, coreutils and rsync: what every Linux cluster has on its nodes. Files and
directories that end in `.tmp` are being written and belong to no checkpoint.
"""

import shlex
from pathlib import Path

from slurm_green.migration.execute import store_agent
from slurm_green.migration.execute.access import Copy, staging_of

__all__ = [
    "ARRIVED",
    "CLAIM",
    "LISTING",
    "MANIFEST",
    "PLACE",
    "PREPARE",
    "SWEEP",
    "UNCLAIM",
    "copy_script",
    "log_of",
    "store_script",
]

_FIND = "find . -name '*.tmp' -prune -o -type f"
_LINKS = "find . -name '*.tmp' -prune -o -type l"

# "DIGEST FILES": changes when a file appears, goes, grows or is replaced.
LISTING = f"""set -eu; export LC_ALL=C
[ -d "$1" ] || {{ echo none 0; exit 0; }}
cd "$1"
files=$({_FIND} -printf x | wc -c)
[ "$files" -gt 0 ] || {{ echo none 0; exit 0; }}
{{ {_FIND} -printf '%P %s %T@ %i\\n'; {_LINKS} -printf '%P %T@ %i\\n'; }} | sort | b2sum |
    {{ read -r digest rest; echo "$digest $files"; }}"""

# "DIGEST BYTES FILES": depends on names, contents and where links lead alone. What `find` cannot
# read fails here, and not in a pipe: it would be missing here and there, and nobody would see it.
MANIFEST = f"""set -eu; export LC_ALL=C
[ -d "$1" ] || {{ echo none 0 0; exit 0; }}
cd "$1"
{_FIND} >/dev/null
digest=$({{ {_FIND} -print0 | sort -z | xargs -0 -r b2sum --
    {_LINKS} -printf '%P -> %l\\n' | sort; }} | b2sum | cut -d' ' -f1)
{_FIND} -printf '%s\\n' |
    awk -v d="$digest" '{{ b += $1 }} END {{ printf "%s %.0f %d\\n", d, b, NR }}'"""

# $1 a link that leads nowhere and is named for the job, $2 the move. Whoever makes it has the job:
# of two that try at once a file system lets one.
CLAIM = """set -eu
mkdir -p -- "${1%/*}"
said=$(ln -sT -- "$2" "$1" 2>&1) || [ -L "$1" ] || { echo "$said" >&2; exit 1; }
if [ "$(readlink -- "$1")" = "$2" ]; then echo 1; else echo 0; fi"""

# The same link, then the moves that let go of it.
UNCLAIM = """set -eu
mark=$1; shift
[ -L "$mark" ] || exit 0
for one; do [ "$(readlink -- "$mark")" != "$one" ] || rm -f -- "$mark"; done"""

PREPARE = """set -eu
mkdir -p -- "$1"
df -B1 --output=avail -- "$1" | tail -n 1"""

# The slash follows a link: a checkpoint's directory may be one.
ARRIVED = """[ -d "$1" ] || { echo 0; exit 0; }
find "$1/" -type f -printf '%s\\n' | awk '{ b += $1 } END { printf "%.0f\\n", b }'"""

# $1 what arrived, $2 where it belongs, $3 where the one before goes. After any crash: again.
PLACE = """set -eu
if [ -d "$1" ]; then
    if [ -e "$2" ] || [ -L "$2" ]; then [ -e "$3" ] || mv -T -- "$2" "$3"; fi
    mv -T -- "$1" "$2"
fi
[ -d "$2" ]"""

SWEEP = """rm -rf -- "$1" "$2" "$1".[cf]*.log"""


def log_of(directory: str, token: str, number: str) -> str:
    """Where a transfer's words go, at the source; gone when one succeeds."""
    return f"{staging_of(directory, token)}.{number}.log"


def store_script(python: str, verb: str, directory: str, url: str, *, compare: bool) -> str:
    """A script that carries a directory to an object store or back, by what is in its text."""
    agent = Path(store_agent.__file__).read_text(encoding="utf-8")
    word = "COMPARE=1 " if compare else ""
    argv = shlex.join([python, "-", verb, directory, url])
    return f"#!/bin/sh\n{word}{argv} <<'SGREEN_AGENT'\n{agent}SGREEN_AGENT\n"


def copy_script(copy: Copy, *, token: str) -> str:
    """A batch script that brings the checkpoint to where it is verified; it may be repeated.

    It writes in place, so that a killed one's bytes count, and removes what does not belong there.
    What stands there from an earlier move saves the link its unchanged files, and with `delta`
    their unchanged parts.
    """
    name = copy.target.rstrip("/").rpartition("/")[2]
    words = [
        *("rsync", "--archive", "--protect-args", "--inplace", "--delete", "--exclude=*.tmp"),
        *("--no-whole-file" if copy.delta else "--whole-file", f"--copy-dest=../{name}"),
        *([f"--bwlimit={copy.kib_per_s}"] if copy.kib_per_s else []),
        *(["--checksum"] if copy.compare else []),
        *("--", f"{copy.directory.rstrip('/')}/", f"{copy.reach}{staging_of(copy.target, token)}/"),
    ]
    logs = shlex.quote(staging_of(copy.directory, token))
    return f"#!/bin/sh\n{shlex.join(words)} && rm -f -- {logs}.c*.log\n"
