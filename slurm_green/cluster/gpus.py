# SPDX-License-Identifier: Apache-2.0
"""Emulated GPUs of a cluster's nodes: one bench a node, loaded while a job has them."""

import shlex
import shutil
from pathlib import Path

from profiling.device.emulated.bench import Bench
from profiling.device.emulated.build import build_library
from profiling.device.emulated.models import load_model
from profiling.errors import DeviceError
from profiling.whole import write_file
from slurm_green.cluster import load_hook
from slurm_green.cluster.layout import Layout
from slurm_green.cluster.spec import ClusterSpec

__all__ = ["bench_of", "make_gpus", "write_hook"]

# slurmd gives no PATH; whatever happens to an emulated load, the job goes on.
_HOOK = """\
#!/bin/sh
# Made by `sgreen cluster up`: an emulated GPU computes when somebody says so.
[ -n "$SLURM_JOB_GPUS" ] || exit 0
exec </dev/null >/dev/null 2>&1
/usr/bin/timeout -k 1 4 /usr/bin/python3 -IS {script} {op} {library} {state}
exit 0
"""


def bench_of(layout: Layout, node: str) -> Bench:
    """The bench of a node's GPUs, to read and to break them. DeviceError when there is none."""
    return Bench(layout.gpus(node), library=layout.gpu_library)


def make_gpus(layout: Layout, spec: ClusterSpec) -> None:
    """GPUs for every node that has none yet, and the hooks that load them."""
    if spec.gpu_model is None:
        return
    layout.gpu_library.parent.mkdir(exist_ok=True)
    # Never over the old one: whoever has that loaded would run what is there now.
    write_file(layout.gpu_library, build_library().read_bytes())
    models = [load_model(spec.gpu_model)] * spec.gpus
    for node in spec.node_names:
        (layout.nodes / node).mkdir(parents=True, exist_ok=True)
        try:
            bench_of(layout, node).close()  # of a kept cluster: locks outlive processes
        except DeviceError:
            state = layout.gpus(node)
            Bench.create(state, models, library=layout.gpu_library).close()
    script = layout.etc / "load_hook.py"
    shutil.copy(Path(load_hook.__file__), script)
    # slurmd takes the last name first: the load comes after a clock is set, and goes before it is
    # given back, as with a real job.
    for name, file, op in (("prolog", "40-load.sh", "begin"), ("epilog", "60-load.sh", "end")):
        text = _HOOK.format(
            script=shlex.quote(str(script)),
            op=op,
            library=shlex.quote(str(layout.gpu_library)),
            # Several slurmd run the same file; each says which node it is.
            state=f'{shlex.quote(str(layout.nodes))}/"$SLURMD_NODENAME"/gpus',
        )
        write_hook(layout, name, file, text)


def write_hook(layout: Layout, name: str, file: str, text: str) -> None:
    """A script that slurmd runs as "prolog" or "epilog"."""
    path = layout.hooks(name) / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
