#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#SBATCH --job-name=embed-corpus
#SBATCH --gres=gpu:8
#SBATCH --time=2
#SBATCH --comment=green:max-delay=105s,runtime=11s,profile=demo-training
./gpu-work 9
