#!/bin/sh
#SBATCH --job-name=sweep
#SBATCH --array=1-8
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@120
# sbatch --export=SWEEP=sweep.toml,OUT=runs/sweep examples/slurm.sh
# Of an array with another number of tasks: sbatch --array=1-20 --export=PARTS=20,SWEEP=…,OUT=… examples/slurm.sh
# A task that is stopped saves its runs: Slurm warns it two minutes before its time is up or it is preempted. Requeued, or
# submitted once more, also alone (--array=2), it goes on from there.
# On GPUs: device = "cuda" under [set] of the sweep file, and sbatch --gres=gpu:1 …
PARTS=${PARTS:-8}
if [ -n "$VENV" ]; then . "$VENV/bin/activate"; fi  # VENV: the environment in which auxin is, on a disk that all nodes see
exec auxin sweep "$SWEEP" --out "$OUT" --only "$(((SLURM_ARRAY_TASK_ID + PARTS - 1) % PARTS + 1))/$PARTS" --workers "$SLURM_CPUS_PER_TASK"
