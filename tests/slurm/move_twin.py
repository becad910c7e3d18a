# SPDX-License-Identifier: Apache-2.0
"""A training in small, standard library only: a chain of hashes is its weights.

python3 move_twin.py DIRECTORY STEPS PAUSE_S [BYTES of ballast in the checkpoint]
Where a file `hurry` lies beside it, it pauses no more.
"""

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

directory, steps, pause_s = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
ballast = "x" * int(sys.argv[4]) if len(sys.argv) > 4 else ""
asked: list[int] = []
signal.signal(signal.SIGUSR1, lambda *_: asked.append(1))
directory.mkdir(exist_ok=True)
state, hurry = directory / "state.json", Path("hurry")
step, weights = 0, "seed"
if state.exists():
    step, weights, _ = json.loads(state.read_text())


def say(**words: object) -> None:
    """One line of JSON."""
    print(json.dumps(words), flush=True)


def save() -> None:
    """By a rename."""
    fresh = state.with_suffix(".tmp")
    with fresh.open("w") as file:
        file.write(json.dumps([step, weights, ballast]))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(state)
    say(saved_at=step)


say(begins_at=step, site=os.environ.get("SLURM_CLUSTER_NAME"))
while step < steps:
    weights = hashlib.sha256(weights.encode()).hexdigest()
    step += 1
    time.sleep(0 if hurry.exists() else pause_s)
    if asked:
        asked.clear()
        save()
save()
say(ends_at=step, weights=weights)
