# SPDX-License-Identifier: Apache-2.0
"""Modelled watts."""

from slurm_green.plan.power import PowerModel


def test_watts_of_gpus_cores_and_nodes() -> None:
    model = PowerModel(gpu_w=400, gpu_idle_w=50, cpu_core_w=5, node_base_w=100, pue=1.2)
    assert model.job_w(gpus=2, cpus=8, nodes=1) == 1.2 * (800 + 40)
    assert model.job_w(gpus=0, cpus=8, nodes=2) == 1.2 * (40 + 200)
    assert model.idle_w(4) == 1.2 * 200


def test_watts_beside_the_boards_that_counters_tell_of() -> None:
    model = PowerModel(gpu_w=400, gpu_share_w=50, cpu_core_w=5, node_base_w=100, pue=1.2)
    assert model.rest_w(gpus=2, cpus=8) == 1.2 * (100 + 40)


def test_a_partitions_own_gpu_type_counts() -> None:
    model = PowerModel(gpu_w=400, cpu_core_w=0, gpu_w_by_partition={"big": 700})
    assert model.job_w(gpus=1, cpus=1, nodes=1, partition="big") == 700
    assert model.job_w(gpus=1, cpus=1, nodes=1, partition="small") == 400
