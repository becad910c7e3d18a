#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#SBATCH --job-name=sweep
#SBATCH --array=1-6
#SBATCH --gres=gpu:2
#SBATCH --time=2
#SBATCH --comment=green:runtime=9s,profile=demo-training
echo "point $SLURM_ARRAY_TASK_ID of the sweep"
./gpu-work 6
