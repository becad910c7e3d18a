#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#SBATCH --job-name=finetune
#SBATCH --gres=gpu:4
#SBATCH --time=2
#SBATCH --deadline=now+195
#SBATCH --comment=green:runtime=12s,profile=demo-training
# Must end by the deadline, so it must start two minutes (its limit) and a margin before it.
./gpu-work 10
