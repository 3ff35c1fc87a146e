#!/usr/bin/env bash
# A long run as a chain of short jobs, for sites that do not requeue:
#     slurm/dependency_chain.sh COUNT RUN.toml [sbatch options ...]      prints the ids of the jobs, one a line
#     SCRIPT=spare_nodes.sbatch slurm/dependency_chain.sh ...            another script of this directory than single_node.sbatch
#
# Each job continues the run in the same directory once the one before has ended, however it ended: out of time is exit code 75,
# which Slurm takes for a failure (so afterany, not afterok). A job that finds the run finished ends at once with 0; so do the
# rest of the chain. One that finds the run file refused ends at once with 78, and the others after it.
set -euo pipefail
if [ $# -lt 2 ] || ! [[ $1 =~ ^[1-9][0-9]*$ ]]; then
    sed -n '2,4s/^# \{0,1\}//p' "$0" >&2
    exit 64
fi
count=$1 run_file=$2
shift 2
script=$(dirname "$(readlink -f "$0")")/"${SCRIPT:-single_node.sbatch}"
previous=""
for _ in $(seq "$count"); do
    previous=$(sbatch --parsable --no-requeue "$@" ${previous:+--dependency=afterany:"$previous"} "$script" "$run_file")
    previous=${previous%%;*}  # with -M: id;cluster
    echo "$previous"
done
