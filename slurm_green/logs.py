# SPDX-License-Identifier: Apache-2.0
"""Log lines on stderr: journald stamps the time there, anybody else gets one from us."""

import logging
import os
import sys
import time

__all__ = ["set_up_logging"]


def set_up_logging(part: str) -> None:
    """One line per event: level, part of the daemon, text; $SLURM_GREEN_LOG is the least level."""
    stamp = "" if os.environ.get("JOURNAL_STREAM") else "%(asctime)sZ "
    logging.Formatter.converter = time.gmtime
    level = os.environ.get("SLURM_GREEN_LOG", "INFO").upper()
    known = logging.getLevelNamesMapping()
    logging.basicConfig(
        level=known.get(level, logging.INFO),
        format=f"{stamp}%(levelname)s {part}: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
        stream=sys.stderr,
        force=True,
    )
    if level not in known:
        logging.getLogger(__name__).warning("SLURM_GREEN_LOG=%r is no level, taken as INFO", level)
