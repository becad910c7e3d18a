# SPDX-License-Identifier: Apache-2.0
"""What was decided, what it cost and what it saved: SQLite, receipts, the site's report."""
