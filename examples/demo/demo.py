# SPDX-License-Identifier: Apache-2.0
"""`make demo`: run the demo with the job scripts and the carbon day beside this file."""

import sys
from pathlib import Path

from slurm_green.demo.main import main

if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent))
