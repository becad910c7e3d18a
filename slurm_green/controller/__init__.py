# SPDX-License-Identifier: Apache-2.0
"""sgreend: observes Slurm, decides by pure functions, changes begin times, keeps the books."""
