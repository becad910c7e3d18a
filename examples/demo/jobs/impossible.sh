#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#SBATCH --job-name=impossible
#SBATCH --gres=gpu:1
#SBATCH --time=2
#SBATCH --comment=green:deadline=now+20s,runtime=10s
./gpu-work 10
