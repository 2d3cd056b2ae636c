#!/bin/sh
#SBATCH --job-name=sweep
#SBATCH --array=1-8
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=04:00:00
#SBATCH --requeue
# sbatch --export=SWEEP=sweep.toml,OUT=runs/sweep examples/slurm.sh
# A task that is stopped saves its runs; given once more, it goes on from there.
exec auxin sweep "$SWEEP" --out "$OUT" --only "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" --workers "$SLURM_CPUS_PER_TASK"
