#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#SBATCH --job-name=smoke-test
#SBATCH --gres=gpu:1
#SBATCH --time=1
./gpu-work 4
