#!/usr/bin/env bash
# Makes the books of four pocket pairs on a real Slurm of one node, kills a job, and holds every stored result and every
# verdict of one pair against those that `predact book` gives: ids to the letter, numbers but for rounding.
#
#     tests/cluster.sh SNAKEMAKE [PAIRS]
#
# SNAKEMAKE is the program snakemake, 9 or newer, with the plugin snakemake-executor-plugin-slurm. Needs Debian's packages
# slurm-wlm and munge, and root; no part of `make test`: it takes a quarter of an hour on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
snakemake=$(realpath "${1:?the program snakemake}")
pairs=${2:-pocket, pocket-dpo, pocket-seed1, pocket-true}
predact=$PWD/.venv/bin/predact
work=$(mktemp -d)
chmod 755 "$work"
conf=/etc/slurm/slurm.conf  # where the steps of a job look for it
[ ! -e $conf ] || { echo "$conf is there: this machine has a Slurm of its own"; exit 2; }
trap 'kill $(jobs -p) 2>/dev/null; pkill -F "$work/slurmctld.pid" 2>/dev/null; pkill -F "$work/slurmd.pid" 2>/dev/null; rm -rf "$work" $conf' EXIT

start_slurm() {  # one node of all cores on loopback, without accounting
    mkdir -p "$work"/{state,spool} /run/munge
    chown munge: /run/munge
    runuser -u munge -- munged --force
    cat >$conf <<EOF
ClusterName=one
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
ReturnToService=2
MinJobAge=3600
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$(awk '/MemTotal/ {print int($2 / 1024) - 512}' /proc/meminfo) State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
EOF
    slurmctld
    slurmd
    until srun hostname >/dev/null 2>&1; do sleep 1; done
}

books() {  # all pairs, by jobs of Slurm
    (cd "$work/cluster" && PYTHONPATH=$work/cluster "$snakemake" --profile workflow/profiles/slurm --slurm-status-command squeue --config \
        "pairs=[$pairs]" scale=classroom "predact=$predact" "store=$work/store" "$@")
}

kill_one() {  # the first job that executes a chapter, as soon as it runs
    local job=
    while [ -z "$job" ]; do
        sleep 1
        job=$(squeue --noheader --states running --format '%i %.60k %.200Z' | awk '/chapter/ {print $1; exit}')
    done
    sleep 5
    scancel --signal KILL "$job" && echo "killed job $job"
}

git clone -q . "$work/cluster"
git clone -q . "$work/alone"
start_slurm
kill_one &
books || books  # what failed is begun again by the same command
first=${pairs%%,*}
(cd "$work/alone" && PYTHONPATH=$work/alone "$predact" book --pair "$first" --scale classroom --store "$work/own" --workers 2 >/dev/null)
for place in cluster alone; do
    (cd "$work/$place" && PYTHONPATH=$work/$place "$predact" scorecard --pair "$first" --json) >"$work/$place.json"
done
diff "$work/cluster.json" "$work/alone.json" && echo "verdicts: the same"
PYTHONPATH=tests .venv/bin/python - "$work/store" "$work/own" <<'EOF'
import sys
from pathlib import Path

from alike import alike, names

shared, own = map(Path, sys.argv[1:])
found = sorted(names(own))
apart = [name for name in found if (shared / name).read_bytes() != (own / name).read_bytes()]  # sampled in other company
differ = [name for name in apart if not alike(shared / name, own / name)]
print(f"stored results: {len(found)} compared, {len(found) - len(apart)} to the byte, {len(differ)} differ", *differ[:5])
sys.exit(bool(differ) or not found)
EOF
