#!/bin/sh
# mpirun.sh RANKS PROGRAM [ARGUMENTS]: runs a test on that many ranks of this machine, however few cores it has, or of the hosts that
# tests/support/hosts.sh has made.
# Real runs get their environment from coordinator/launch; this is the part of it that a test cannot do without.
set -eu
ranks=$1
shift
export KIBAN_EXPECTED_RANKS="${KIBAN_EXPECTED_RANKS:-$ranks}"
export OMPI_MCA_mpi_yield_when_idle=1                        # waiting ranks yield: 600 times faster on fewer cores than ranks
export OMPI_MCA_btl_vader_single_copy_mechanism=none         # cross-memory attach stalls under load
export OMPI_MCA_btl_tcp_if_include="${OMPI_MCA_btl_tcp_if_include:-lo}" OMPI_MCA_oob_tcp_if_include="${OMPI_MCA_oob_tcp_if_include:-lo}"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" OMP_WAIT_POLICY=passive
export KIBAN_EXPECTED_HOSTS="${KIBAN_EXPECTED_HOSTS:-1}"
forwarded='-x KIBAN_EXPECTED_RANKS -x KIBAN_EXPECTED_HOSTS -x OMP_NUM_THREADS -x OMP_WAIT_POLICY'
root=
if [ "$(id -u)" = 0 ]; then root=--allow-run-as-root; fi
# mpirun does not always notice a lost rank: no test waits for it for ever.
exec timeout -k 5 "${KIBAN_MPI_TIMEOUT_SECONDS:-300}" mpirun $root $forwarded --oversubscribe --bind-to none -n "$ranks" "$@"
