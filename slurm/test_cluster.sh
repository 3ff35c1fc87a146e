#!/usr/bin/env bash
# A real Slurm of N virtual nodes on this machine, for tests: Debian's munge, slurmctld and slurmd, on loopback only. Needs root.
#
#   slurm/test_cluster.sh DIR start [NODES]     writes DIR/etc/slurm.conf (export it as SLURM_CONF), returns when all nodes are idle
#   slurm/test_cluster.sh DIR stop | status
#
# Everything (keys, sockets, state, logs, process ids) lives in DIR. SLURM_BASE_PORT (default 17100) moves the ports.
set -euo pipefail
dir=$(readlink -m "$1") command=$2 nodes=${3:-2}
base_port=${SLURM_BASE_PORT:-17100}
export SLURM_CONF=$dir/etc/slurm.conf

write_configuration() {
    local node
    mkdir -p "$dir"/{etc,state,run,log,spool,tmp}
    chmod 755 "$dir" "$dir"/{run,etc}
    chmod 700 "$dir/state"
    if [ ! -s "$dir/etc/munge.key" ]; then
        head -c 128 /dev/urandom >"$dir/etc/munge.key"
        chmod 600 "$dir/etc/munge.key"
    fi
    cat >"$SLURM_CONF" <<CONF
ClusterName=kiban
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmctldPort=$base_port
SlurmdPort=$((base_port + 1))
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# A requeued job waits this long (plus one second) before it starts again.
AuthInfo=socket=$dir/run/munge.sock,cred_expire=5
StateSaveLocation=$dir/state
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdPidFile=$dir/run/slurmd.%n.pid
SlurmdSpoolDir=$dir/spool/%n
SlurmdLogFile=$dir/log/slurmd.%n.log
# More processors are declared than the machine has.
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$dir/log/jobcomp.txt
MpiDefault=pmix
# One directory a node, or the PMIx plugin of the second node fails.
TmpFS=$dir/tmp/%n
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=10000,bf_interval=2,bf_resolution=1,batch_sched_delay=0
DependencyParameters=kill_invalid_depend
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
SlurmctldTimeout=10
SlurmdTimeout=10
InactiveLimit=0
KillWait=5
Waittime=0
MessageTimeout=10
TCPTimeout=2
MailProg=/bin/true
NodeName=DEFAULT CPUs=4 RealMemory=4000 State=UNKNOWN
CONF
    # Named, so that slurmd does not look for mounted control groups: nothing here uses them, and a container may have none.
    echo "CgroupPlugin=cgroup/v1" >"$dir/etc/cgroup.conf"
    {
        cat /etc/hosts
        for node in $(seq 1 "$nodes"); do echo "127.0.0.1 n$node"; done
    } >"$dir/etc/hosts"
    for node in $(seq 1 "$nodes"); do
        echo "NodeName=n$node NodeHostname=n$node NodeAddr=127.0.0.1 Port=$((base_port + 10 + node))" >>"$SLURM_CONF"
    done
    cat >>"$SLURM_CONF" <<CONF
PartitionName=low  Nodes=n[1-$nodes] PriorityTier=1  Default=YES MaxTime=INFINITE DefaultTime=60 State=UP GraceTime=5
PartitionName=high Nodes=n[1-$nodes] PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE State=UP
CONF
}

# Its own hostname and /dev/shm for each node: two nodes of one hostname share the names of Open MPI's shared segments and crash.
# In a plain chroot the root is no mount point and cannot be made private as a whole: then /dev and /dev/shm are, by themselves.
start_node() {
    local propagation=private
    mkdir -p "$dir/spool/n$1" "$dir/tmp/n$1"
    chmod 1777 "$dir/tmp/n$1"
    unshare --mount --propagation private true 2>/dev/null || propagation=unchanged
    unshare --uts --mount --propagation $propagation bash -ec "
        hostname n$1
        for place in /dev /dev/shm; do
            if mountpoint -q \$place; then mount --make-private \$place; fi
        done
        mount -t tmpfs tmpfs /dev/shm
        mount --bind '$dir/etc/hosts' /etc/hosts
        exec slurmd -N n$1 -f '$SLURM_CONF'"
}

start() {
    local node attempt
    write_configuration
    munged --force --key-file="$dir/etc/munge.key" --socket="$dir/run/munge.sock" --pid-file="$dir/run/munged.pid" \
        --log-file="$dir/log/munged.log" --seed-file="$dir/state/munged.seed"
    slurmctld -f "$SLURM_CONF" -c
    for node in $(seq 1 "$nodes"); do start_node "$node"; done
    for attempt in $(seq 1 150); do
        if [ "$(sinfo -h -p low -t idle -o %D 2>/dev/null)" = "$nodes" ]; then
            echo "up: $nodes nodes idle, SLURM_CONF=$SLURM_CONF"
            return
        fi
        sleep 0.1
    done
    echo "test_cluster: expected $nodes idle nodes within 15 s, found:" >&2
    sinfo -N >&2
    exit 1
}

# TERM to all daemons at once, then wait for each, munged last.
stop() {
    local file pid attempt pids=()
    for file in "$dir"/run/slurmd.*.pid "$dir/run/slurmctld.pid"; do
        [ -s "$file" ] || continue
        pid=$(cat "$file")
        kill -TERM "$pid" 2>/dev/null && pids+=("$pid")
    done
    for pid in "${pids[@]:-}"; do
        [ -n "$pid" ] || continue
        for attempt in $(seq 1 100); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.05
        done
        kill -KILL "$pid" 2>/dev/null || true
    done
    [ ! -s "$dir/run/munged.pid" ] || kill -TERM "$(cat "$dir/run/munged.pid")" 2>/dev/null || true
}

case $command in
    start) start ;;
    stop) stop ;;
    status) sinfo -N -l ;;
    *) echo "test_cluster: expected start, stop or status, found '$command'" >&2; exit 64 ;;
esac
