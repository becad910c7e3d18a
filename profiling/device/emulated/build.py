# SPDX-License-Identifier: Apache-2.0
"""Builds the emulated `libnvidia-ml.so.1` with the C compiler at hand, once per change.

The trap: whoever finds this library believes in GPUs. Give its path to what shall see them; never
put it where the system looks for libraries.
"""

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import platformdirs

from profiling.errors import DeviceError

__all__ = ["build_library", "find_compiler"]

_SOURCES = Path(__file__).with_name("src")

_NAME = "libnvidia-ml.so.1"
# Without contracted multiply-adds C and Python agree to the last bits.
_FLAGS = (
    "-std=gnu11 -D_GNU_SOURCE -O2 -g -Wall -Wextra -Werror -ffp-contract=off "
    f"-fPIC -fvisibility=hidden -shared -Wl,-soname,{_NAME}"
).split()
_SANITIZE = [
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
    "-O1",
]
_LIBRARIES = ["-lm", "-lpthread"]


def find_compiler() -> list[str]:
    """The compiler's command: $CC, or the first of cc, gcc, clang. Raises DeviceError."""
    if chosen := shlex.split(os.environ.get("CC", "")):
        return chosen
    for name in ("cc", "gcc", "clang"):
        if found := shutil.which(name):
            return [found]
    raise DeviceError(
        "no C compiler (cc, gcc, clang) found to build the emulated GPU library; install one "
        "(Debian: apt-get install gcc libc6-dev) or set CC"
    )


def build_library(
    directory: Path | None = None, *, default_state: Path | None = None, sanitize: bool = False
) -> Path:
    """The library's path, built when the sources or the options have changed.

    Without `directory` it lives in the user's cache. `default_state` is the state file that it
    opens where SGREEN_EMULATED_GPU_STATE is not set. Raises DeviceError: no compiler, it fails, or
    the directory cannot be written.
    """
    sources = sorted(_SOURCES.glob("*.[ch]"))
    compiler = find_compiler()
    options = [*_FLAGS, *(_SANITIZE if sanitize else [])]
    if default_state is not None:
        options.append(f"-DSG_DEFAULT_STATE={json.dumps(str(default_state))}")
    digest = hashlib.sha256("\0".join([*compiler, *options]).encode())
    for source in sources:
        digest.update(source.name.encode() + source.read_bytes())
    key = digest.hexdigest()[:32]
    cache = platformdirs.user_cache_path("slurm-green") / "emulated-nvml" / key
    library = (cache if directory is None else directory) / _NAME
    if not _holds(library, key):
        command = [*compiler, *options, f'-DSG_BUILD="{key}"']
        command += [str(one) for one in sources if one.suffix == ".c"]
        _compile(command, library)
    return library


def _holds(library: Path, key: str) -> bool:
    try:
        return key.encode() in library.read_bytes()
    except OSError:
        return False


def _compile(command: list[str], library: Path) -> None:
    try:
        library.parent.mkdir(parents=True, exist_ok=True)
        # Beside it and renamed: whoever has the old one loaded keeps it whole.
        with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
            made = Path(scratch) / _NAME
            done = subprocess.run(
                [*command, "-o", str(made), *_LIBRARIES],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                first = next((one for one in done.stderr.splitlines() if "error" in one), "")
                raise DeviceError(
                    f"{command[0]} could not build the emulated GPU library: "
                    f"{first or f'exit status {done.returncode}'}"
                )
            made.replace(library)
    except OSError as exc:
        raise DeviceError(f"emulated GPU library {library}: {exc.strerror or exc}") from exc
