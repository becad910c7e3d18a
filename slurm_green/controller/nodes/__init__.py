# SPDX-License-Identifier: Apache-2.0
"""sgreend's API for nodes: orders for the GPUs of their jobs, and the energy these used."""
