# SPDX-License-Identifier: Apache-2.0
"""Receipts and reports as plain rows, for JSON and CSV. Unknown is null or an empty cell."""

import csv
from collections.abc import Iterable
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any, TextIO

from slurm_green.ledger.receipt import Receipt
from slurm_green.ledger.report import Report

__all__ = ["receipt_row", "report_row", "write_receipts_csv"]


def receipt_row(receipt: Receipt) -> dict[str, Any]:
    """A receipt as JSON values."""
    row = _plain(asdict(receipt))
    assert isinstance(row, dict)
    return row


def report_row(report: Report, *, receipts: bool = True) -> dict[str, Any]:
    """A report as JSON values, its receipts with it if wanted."""
    row = _plain(asdict(report))
    assert isinstance(row, dict)
    if not receipts:
        del row["receipts"]
    return row


def write_receipts_csv(receipts: Iterable[Receipt], out: TextIO) -> None:
    """One line a job; notes are joined, and a cell cannot start a formula."""
    names = [field.name for field in fields(Receipt)]
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    for receipt in receipts:
        row = receipt_row(receipt)
        row["notes"] = "; ".join(row["notes"])
        writer.writerow({name: _safe(value) for name, value in row.items()})


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    return value


def _safe(value: Any) -> Any:
    # A job may be named `=cmd|...`, and the report ends up in a spreadsheet.
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return "'" + value
    return value
