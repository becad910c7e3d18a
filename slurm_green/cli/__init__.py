# SPDX-License-Identifier: Apache-2.0
"""The command line: `sgreen` and its verbs, one file each."""
