#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#SBATCH --job-name=smoke-test
#SBATCH --gres=gpu:1
#SBATCH --time=1
sleep 4
