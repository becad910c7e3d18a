# SPDX-License-Identifier: Apache-2.0
"""CA-RM's evaluation on our parts: `python -m benchmarks.ca_rm`. docs/ca-rm.md explains it."""

import sys
from pathlib import Path

__all__: list[str] = []

# The other benchmarks are scripts, which find each other in their own folder.
sys.path.insert(0, str(Path(__file__).parents[1]))
