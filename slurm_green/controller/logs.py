# SPDX-License-Identifier: Apache-2.0
"""Log lines on stderr: journald stamps the time there, anybody else gets one from us."""

import logging
import os
import sys
import time

__all__ = ["set_up_logging"]


def set_up_logging(part: str) -> None:
    """One line per event: level, part of the daemon, text."""
    stamp = "" if os.environ.get("JOURNAL_STREAM") else "%(asctime)sZ "
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(
        level=os.environ.get("SLURM_GREEN_LOG", "INFO").upper(),
        format=f"{stamp}%(levelname)s {part}: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
        stream=sys.stderr,
        force=True,
    )
