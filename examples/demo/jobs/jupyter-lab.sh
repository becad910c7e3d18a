#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#SBATCH --job-name=jupyter-lab
#SBATCH --gres=gpu:1
#SBATCH --time=2
#SBATCH --comment=green:runtime=15s
./gpu-work 15
