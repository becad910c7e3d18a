#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#SBATCH --job-name=paper-plots
#SBATCH --gres=gpu:2
#SBATCH --time=2
#SBATCH --comment=green:off
./gpu-work 8
