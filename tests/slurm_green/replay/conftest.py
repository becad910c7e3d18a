# SPDX-License-Identifier: Apache-2.0
"""Makes this folder's cases, and the planner's problems, importable by name."""

import sys
from pathlib import Path

for _folder in (Path(__file__).parent, Path(__file__).parents[1] / "plan"):
    if str(_folder) not in sys.path:
        sys.path.append(str(_folder))
