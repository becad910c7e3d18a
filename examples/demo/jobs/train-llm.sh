#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#SBATCH --job-name=train-llm
#SBATCH --nodes=2
#SBATCH --gres=gpu:8
#SBATCH --time=2
#SBATCH --comment=green:runtime=14s,profile=demo-training
# Slurm counts limits in whole minutes, half a day of the demo: so the user says how long it takes.
echo "training on $SLURM_JOB_NODELIST, GPUs $SLURM_JOB_GPUS each"
./gpu-work 12
