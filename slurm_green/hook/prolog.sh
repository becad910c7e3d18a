#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Prolog= of slurm.conf on GPU nodes: tells sgreen-noded that a job begins. Installation: docs/node.md
#
# A prolog that fails drains its node, so this one cannot: whatever happens it exits 0, within 5 s.
# slurmd gives it no PATH, hence the absolute names.

SOCKET=/run/slurm-green-node/root.sock
CLIENT=/usr/lib/slurm-green/prolog_client.py
PYTHON=/usr/bin/python3

trap 'exit 0' HUP INT TERM
[ -n "$SLURM_JOB_GPUS" ] || exit 0
/usr/bin/timeout -k 1 4 "$PYTHON" -IS "$CLIENT" begin "$SOCKET" </dev/null >/dev/null 2>&1
exit 0
