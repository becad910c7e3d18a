# SPDX-License-Identifier: Apache-2.0
"""Makes `builders` and `simulator` importable by name in all tests below."""

import sys
from pathlib import Path

_HERE = str(Path(__file__).parent)
if _HERE not in sys.path:
    sys.path.append(_HERE)
