#!/usr/bin/env bash
# Test on a Slurm cluster: tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [arguments of test.py]
# From the environment: GPUS (in all, default 8), GPUS_PER_NODE (8), CPUS_PER_TASK (5), SRUN_ARGS, and MASTER_PORT
# (29500; two jobs that share a machine need one each).
set -euo pipefail

if [ "$#" -lt 4 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG CHECKPOINT [arguments of test.py]" >&2
    exit 2
fi
partition=$1 job_name=$2 config=$3 checkpoint=$4
shift 4
here=$(cd "$(dirname "$0")" && pwd)
gpus=${GPUS:-8}
gpus_per_node=${GPUS_PER_NODE:-8}
if [ "$gpus" -lt "$gpus_per_node" ]; then
    gpus_per_node=$gpus
fi
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" MKL_NUM_THREADS="${MKL_NUM_THREADS:-1}"
read -ra srun_args <<<"${SRUN_ARGS:-}"
exec srun \
    --partition "$partition" --job-name "$job_name" --kill-on-bad-exit=1 \
    --ntasks "$gpus" --ntasks-per-node "$gpus_per_node" --gres "gpu:$gpus_per_node" \
    --cpus-per-task "${CPUS_PER_TASK:-5}" ${srun_args[@]+"${srun_args[@]}"} \
    python -u "$here/test.py" "$config" "$checkpoint" --launcher slurm "$@"
