# SPDX-License-Identifier: Apache-2.0
"""Makes this folder's helpers importable by name."""

import sys
from pathlib import Path

_HERE = str(Path(__file__).parent)
if _HERE not in sys.path:
    sys.path.append(_HERE)
