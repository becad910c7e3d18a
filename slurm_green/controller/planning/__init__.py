# SPDX-License-Identifier: Apache-2.0
"""One plan for all jobs that wait: asked for by a cycle, made in a process of its own, followed."""
