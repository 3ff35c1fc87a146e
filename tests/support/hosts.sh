#!/usr/bin/env bash
# Several hosts on this machine: runs a command on the first of them, with Open MPI told of all. Needs root.
#
#   tests/support/hosts.sh RANKS,RANKS,... COMMAND [ARGUMENTS]   as many hosts, with room for so many ranks each
#   tests/support/hosts.sh on HOST WORDS...                      (Open MPI's remote shell here) a shell line on that host
#
# A host has its own network (eth0 at 10.77.0.N), hostname, /etc/hosts and /dev/shm; they meet at a switch that is no part of this
# machine's network, so any number of these run at once. All of it lives in a process namespace and ends with it, however this ends.
# Errors: 77 without the rights to make hosts; else the exit code is the command's.
set -euo pipefail
self=$(readlink -f "$0")

enter() { # HOST COMMAND...: becomes the command there, in the same directory
    local pid
    pid=$(cat "$KIBAN_HOSTS_DIR/$1")
    shift
    exec nsenter --target "$pid" --net --uts --mount --root --wd="$PWD" -- "$@"
}

await() { # PID: its exit code; a signal that a trap takes ends a wait, not the process
    while kill -0 "$1" 2>/dev/null; do wait "$1" || true; done
    wait "$1"
}

# In a plain chroot the root is no mount point and cannot be made private as a whole: then /dev and /dev/shm are, by themselves.
hold_host() { # HOST: a process that keeps the host's namespaces; it is the host
    local host=$1 propagation=private
    unshare --mount --propagation private true 2>/dev/null || propagation=unchanged
    unshare --net --uts --mount --propagation $propagation bash -ec "
        hostname $host
        for place in /dev /dev/shm; do
            if mountpoint -q \$place; then mount --make-private \$place; fi
        done
        mount -t tmpfs tmpfs /dev/shm
        mount --bind '$KIBAN_HOSTS_DIR/hosts' /etc/hosts
        ip link set lo up
        echo \$\$ >'$KIBAN_HOSTS_DIR/$host.new'
        mv '$KIBAN_HOSTS_DIR/$host.new' '$KIBAN_HOSTS_DIR/$host'
        exec sleep infinity" &
    local holder=$!
    until [ -e "$KIBAN_HOSTS_DIR/$host" ]; do
        kill -0 $holder 2>/dev/null || { echo "hosts: cannot make host '$host': see the message above" >&2; exit 77; }
        sleep 0.02
    done
}

plug_in() { # NUMBER: host hNUMBER gets eth0 on the switch
    (enter switch ip link add "port$1" type veth peer name eth0 netns "$(cat "$KIBAN_HOSTS_DIR/h$1")")
    (enter switch ip link set "port$1" master bridge up)
    (enter "h$1" ip addr add "10.77.0.$1/24" dev eth0)
    (enter "h$1" ip link set eth0 up)
}

# First process of the process namespace: everything in it ends with this.
inside() { # RANKS,... COMMAND...
    local number=0 ranks
    export KIBAN_EXPECTED_HOSTS=0
    echo '127.0.0.1 localhost' >"$KIBAN_HOSTS_DIR/hosts"
    for ranks in ${1//,/ }; do
        number=$((number + 1))
        echo "10.77.0.$number h$number" >>"$KIBAN_HOSTS_DIR/hosts"
        echo "h$number slots=$ranks" >>"$KIBAN_HOSTS_DIR/slots"
    done
    hold_host switch
    (enter switch ip link add bridge type bridge)
    (enter switch ip link set bridge up)
    for KIBAN_EXPECTED_HOSTS in $(seq $number); do
        hold_host "h$KIBAN_EXPECTED_HOSTS"
        plug_in "$KIBAN_EXPECTED_HOSTS"
    done
    shift
    export OMPI_MCA_orte_default_hostfile=$KIBAN_HOSTS_DIR/slots
    export OMPI_MCA_plm=rsh OMPI_MCA_plm_rsh_agent="$self on" OMPI_MCA_plm_rsh_no_tree_spawn=1
    export OMPI_MCA_btl_tcp_if_include=eth0 OMPI_MCA_oob_tcp_if_include=eth0
    (enter h1 "$@") & # the first process stays until the command has ended
    trap 'kill -TERM $!' TERM INT
    await $!
}

case ${1:-} in
    on)
        shift
        while [[ ${1:-} == -* ]]; do shift; done
        host=$1
        shift
        enter "$host" sh -c "$*"
        ;;
    inside) shift && inside "$@" ;;
    [1-9]*)
        if [ "$(id -u)" != 0 ]; then
            echo "hosts: making hosts out of network namespaces needs root, and this is user $(id -un)" >&2
            exit 77
        fi
        KIBAN_HOSTS_DIR=$(mktemp -d "${TMPDIR:-/tmp}/kiban-hosts.XXXXXX")
        export KIBAN_HOSTS_DIR
        trap 'rm -rf "$KIBAN_HOSTS_DIR"' EXIT
        setpriv --pdeathsig KILL \
            unshare --mount --pid --fork --kill-child=KILL --mount-proc --propagation unchanged "$self" inside "$@" &
        trap 'kill -TERM $(cat /proc/$!/task/$!/children)' TERM INT # unshare itself takes no notice of signals
        await $!
        ;;
    *) sed -n '2,9s/^# \{0,1\}//p' "$self" && exit 64 ;;
esac
