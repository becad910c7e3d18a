# SPDX-License-Identifier: Apache-2.0
"""The demo: a real Slurm, real jobs, an example carbon day that passes in two minutes."""
