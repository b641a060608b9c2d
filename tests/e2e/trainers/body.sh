#!/bin/bash
#SBATCH --job-name=as-at-home
#SBATCH --nodes=2
#SBATCH --gpus-per-node=2
#SBATCH --ntasks-per-node=2
#SBATCH --time=00:05:00
# A batch script as it was before: its srun line starts the tasks, in the image.
export MASTER_ADDR MASTER_PORT USE_LIBUV=0 GLOO_SOCKET_IFNAME=lo
srun --mpi=none --label apptainer --quiet exec --bind /scratch "$PASSERELLE_IMAGE" bash -c '
    export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS
    exec python "$0"' "$TRAINER"
