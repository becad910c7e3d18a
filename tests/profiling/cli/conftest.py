# SPDX-License-Identifier: Apache-2.0
"""Makes the helpers of the folder above importable by name."""

import sys
from pathlib import Path

_ABOVE = str(Path(__file__).parents[1])
if _ABOVE not in sys.path:
    sys.path.append(_ABOVE)
