#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#SBATCH --job-name=urgent
#SBATCH --gres=gpu:4
#SBATCH --time=2
#SBATCH --comment=green:runtime=8s
# Submitted with a --deadline on the command line, which Slurm shows to no submit hook.
./gpu-work 8
