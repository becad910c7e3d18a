# SPDX-License-Identifier: Apache-2.0
"""A training that can be stopped and moved: it goes on to the very weights it would have had.

    sbatch --requeue --comment=green:checkpoint=run1,signal=USR1 --open-mode=append \\
        --wrap "srun python train_checkpoint.py --checkpoint run1 --steps 2000"

SIGUSR1 asks for a checkpoint, SIGTERM for one and the end; SIGCONT, which Slurm sends before
others, means nothing. A checkpoint holds weights, optimizer and random state, begins with its own
checksum and appears whole or not at all. The last two are kept: a damaged one is passed over.
"""

import argparse
import hashlib
import io
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

_KEPT = 2
_asked: set[int] = set()


def catch_signals() -> None:
    """Before torch is imported: a signal in those seconds would end us."""
    for number in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, lambda seen, _: _asked.add(seen))
    signal.signal(signal.SIGCONT, signal.SIG_IGN)


def save(directory: Path, step: int, state: dict[str, Any]) -> None:
    """Write `step-N.pt` by a rename, then forget older ones."""
    import torch

    buffer = io.BytesIO()
    torch.save({**state, "step": step}, buffer)
    data = buffer.getvalue()
    path = directory / f"step-{step:09d}.pt"
    # Files in *.tmp are no part of a checkpoint: a move leaves them behind.
    fresh = path.with_suffix(".tmp")
    with fresh.open("wb") as file:
        file.write(hashlib.sha256(data).hexdigest().encode() + b"\n" + data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    for old in sorted(directory.glob("step-*.pt"))[:-_KEPT]:
        old.unlink()


def load(directory: Path) -> dict[str, Any] | None:
    """The newest checkpoint that is what was written; None where there is none."""
    import torch

    for path in sorted(directory.glob("step-*.pt"), reverse=True):
        digest, _, data = path.read_bytes().partition(b"\n")
        if hashlib.sha256(data).hexdigest().encode() == digest:
            found: dict[str, Any] = torch.load(io.BytesIO(data), weights_only=True)
            return found
        print(json.dumps({"damaged": path.name}), flush=True)
    return None


def train(directory: Path, *, steps: int, every: int, seed: int, pause_s: float) -> None:
    """Train to the end or to SIGTERM; prints a line of JSON at its beginning, saves and end."""
    import torch
    from torch import nn

    # One thread, one order of additions: the same bits on every run.
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    directory.mkdir(parents=True, exist_ok=True)
    step = 0
    if (state := load(directory)) is not None:
        step = int(state["step"])
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
    print(json.dumps({"begins_at": step, "site": os.environ.get("SLURM_CLUSTER_NAME")}), flush=True)
    while step < steps:
        batch = torch.randn(16, 32)
        loss = (model(batch) - batch.sum(1, keepdim=True)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        time.sleep(pause_s)
        if _asked or step == steps or (every and step % every == 0):
            seen = set(_asked)
            _asked.difference_update(seen)  # not one that comes while this is written
            state = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "random": torch.get_rng_state(),
            }
            save(directory, step, state)
            print(json.dumps({"saved_at": step}), flush=True)
            if signal.SIGTERM in seen:
                return
    digest = hashlib.sha256()
    for name, values in model.state_dict().items():
        digest.update(name.encode() + values.numpy().tobytes())
    print(json.dumps({"ends_at": step, "weights": digest.hexdigest()}), flush=True)


def main() -> None:
    """Read the command line and train."""
    catch_signals()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True, help="its directory")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--every", type=int, default=0, help="also save every so many steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pause-s", type=float, default=0.0, help="rest after each step")
    given = parser.parse_args()
    train(
        given.checkpoint,
        steps=given.steps,
        every=given.every,
        seed=given.seed,
        pause_s=given.pause_s,
    )


if __name__ == "__main__":
    main()
