# SPDX-License-Identifier: Apache-2.0
"""Makes the replay's cases importable by name."""

import sys
from pathlib import Path

_HERE = str(Path(__file__).parents[2] / "replay")
if _HERE not in sys.path:
    sys.path.append(_HERE)
