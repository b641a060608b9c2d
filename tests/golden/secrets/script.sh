#!/bin/bash
# Attempt 1 of TrainingJob team-a/llm, written by Passerelle.
set -uo pipefail
umask 027
fault() {
    echo "passerelle: $1" >&2
    exit 212
}

marker=psr-aaaaaaaaaaaaaaaaaaaaaaaaaa-1
run=/scratch/startup/passerelle/psr-aaaaaaaaaaaaaaaaaaaaaaaaaa
attempt=1
cpus_per_task=2
grace=0
module_paths=''
modules=''
runtime=apptainer
pull=yes
sealed=/scratch/startup/passerelle/psr-aaaaaaaaaaaaaaaaaaaaaaaaaa/psr-aaaaaaaaaaaaaaaaaaaaaaaaaa-1.sealed
host_suffix=''
address=name
here=$run/attempt-$attempt-$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}
lib=$here/lib spec=$here/spec.json
mkdir -p "$here" || fault "$here can't be made"

base64 -d > "$lib" <<'END_OF_FILE' || fault "$here can't be written"
PROGRAM
END_OF_FILE
cat > "$spec" <<'END_OF_FILE' || fault "$here can't be written"
{"agent": [], "checkpoint": false, "command": ["python", "train.py"], "commentPeriod": 60, "container": {"annotations": {}, "binary": "apptainer", "binds": ["/scratch/startup/passerelle/psr-aaaaaaaaaaaaaaaaaaaaaaaaaa", "/scratch"], "image": "/scratch/startup/passerelle/psr-aaaaaaaaaaaaaaaaaaaaaaaaaa/images/sha256-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.sif", "kind": "apptainer", "options": [], "pull": "docker://ghcr.io/lab/train@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "pullSeconds": 1680}, "cpuBind": null, "cpusPerTask": 2, "environment": {"GLOO_SOCKET_IFNAME": "lo", "HF_HOME": "/scratch/startup/passerelle/psr-aaaaaaaaaaaaaaaaaaaaaaaaaa/home/.cache/huggingface", "OMP_NUM_THREADS": "2", "PYTHONUNBUFFERED": "1", "TORCH_HOME": "/scratch/startup/passerelle/psr-aaaaaaaaaaaaaaaaaaaaaaaaaa/home/.cache/torch", "TRITON_CACHE_DIR": "/scratch/startup/passerelle/psr-aaaaaaaaaaaaaaaaaaaaaaaaaa/home/.cache/triton", "USE_LIBUV": "0", "XDG_CACHE_HOME": "/scratch/startup/passerelle/psr-aaaaaaaaaaaaaaaaaaaaaaaaaa/home/.cache"}, "files": [], "folders": ["/secrets/bucket"], "gpuBind": null, "image": "ghcr.io/lab/train@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "isBody": false, "mpi": "none", "nodes": 2, "payload": null, "progressPeriod": 60, "sealedFolders": ["0"], "tasks": 8, "tasksPerNode": 4, "variables": {}, "workingDir": null, "worldSize": 8}
END_OF_FILE

# Above stand this attempt's own values and files; from here on the script is the same for every attempt.
ulimit -c 0
ulimit -n "$(ulimit -H -n)" # a job that came by REST inherits no login shell's limits
ulimit -l "$(ulimit -H -l)" # InfiniBand pins memory
export SLURM_EXPORT_ENV=ALL # steps see what this script sets, though the job began with a clean environment
for tool in python3 scontrol srun; do
    command -v "$tool" > /dev/null || fault "this node has no $tool"
done

# Nothing but this job's own directory is touched before the claim is ours.
python3 "$lib" claim take "$run" "$attempt" "$here/owner.json" || exit
export PASSERELLE_JOB=$marker PASSERELLE_ATTEMPT=$attempt PASSERELLE_RUN_DIR=$run PASSERELLE_ATTEMPT_DIR=$here
trap ': > "$here/stop"' USR1 # the warning may come while the site is still made ready; untrapped, it would end this shell
fault() {
    python3 "$lib" fault "$1" # the attempt is this job's now: its record says why it could not begin
    exit 212
}
python3 "$lib" prepare "$spec" || {
    code=$?
    case $code in 212 | 216) exit "$code" ;; esac # it has told why
    fault "$here can't be prepared"
}

# What only this attempt may know: no line here shows it, and it leaves this shell by a step's environment alone.
login=''
if [ -n "$sealed" ]; then
    trap 'python3 "$lib" sealed drop "$spec"' EXIT
    sealed=$(python3 "$lib" sealed take "$spec" "$sealed" "$marker") || exit 212
    login=${sealed#*$'\n'} sealed=${sealed%%$'\n'*}
fi

# The site's modules. What a login shell has loaded goes first: libraries of it would reach into the image.
if [ -n "$modules" ]; then
    set +u # a module function reads variables that nobody has set
    command -v module > /dev/null || fault "this node's shell has no module command"
    module purge
    for each in $module_paths; do module use "$each"; done
    for each in $modules; do module load "$each" || fault "the module $each can't be loaded"; done
    set -u
fi
for tool in srun ${runtime:+"$runtime"}; do
    command -v "$tool" > /dev/null || fault "this node has no $tool"
done
if [ -n "$pull" ]; then
    PASSERELLE_LOGIN=$login srun --nodes=1 --ntasks=1 --cpus-per-task="$cpus_per_task" --mpi=none --job-name=image python3 "$lib" pull "$spec" || {
        [ "$?" -ne 216 ] || exit 216
        exit 212
    }
fi

# Rendezvous, computed here on the host: inside a container scontrol is missing, and "localhost" makes worlds of one.
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
[ -n "$MASTER_ADDR" ] || fault "scontrol names no first host in $SLURM_JOB_NODELIST"
MASTER_ADDR=$MASTER_ADDR$host_suffix
if [ "$address" = ip ]; then
    read -r first _ < <(getent ahostsv4 "$MASTER_ADDR") || first=''
    case $first in
        '' | 127.*) fault "the name $MASTER_ADDR leads to no address that other nodes could reach: ${first:-none}" ;;
    esac
    MASTER_ADDR=$first
fi
MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000)) # below the ephemeral range; another job on the node has another
export MASTER_ADDR MASTER_PORT

# The contract with the trainer. Caches land in the run's own home: the user's may be small, or not mounted on nodes.
export PASSERELLE_PROGRESS_FILE=$here/progress.jsonl PASSERELLE_STOP_FILE=$here/stop
export PASSERELLE_CHECKPOINT_DIR=$run/checkpoints # the run's: each attempt goes on where the one before has come to
mkdir -p "$PASSERELLE_CHECKPOINT_DIR" || fault "$PASSERELLE_CHECKPOINT_DIR can't be made"
PASSERELLE_DEADLINE=$(python3 "$lib" deadline tell) # empty where the site does not tell
export PASSERELLE_DEADLINE
USER=$(id -un)
export USER HOME=$run/home
mkdir -p "$HOME" || fault "$HOME can't be made"
export SRUN_CPUS_PER_TASK=$cpus_per_task # since 22.05 srun does not take sbatch's word for it

# Traps come before what they end. A signal reaches this shell alone; trainers see the stop file, or Slurm's own signals.
# At a TERM srun has all ranks killed at once: whoever was to save has had the grace, or gets Slurm's own TERM and KillWait.
steps='' caught='' superseded='' killer=''
trap 'caught=1; : > "$PASSERELLE_STOP_FILE"' USR1
trap 'caught=1; : > "$PASSERELLE_STOP_FILE"; [ -n "$steps" ] || exit 143; kill -TERM "$steps"' TERM INT
# Superseded: a later attempt writes now. A srun that hangs is killed itself.
trap 'caught=1; superseded=1; [ -n "$steps" ] || exit 213; kill -TERM "$steps"
    [ -n "$killer" ] || { { sleep 10; kill -KILL "$steps"; } > /dev/null 2>&1 & killer=$!; }' USR2

python3 "$lib" claim watch "$run" "$attempt" "$here/owner.json" "$$" "$grace" 30 &
watcher=$!
python3 "$lib" relay "$spec" &
relay=$!
clock=''
if [ "$grace" -gt 0 ]; then
    python3 "$lib" deadline watch "$PASSERELLE_STOP_FILE" "$grace" "$$" &
    clock=$!
fi

PASSERELLE_SEALED=$sealed python3 "$lib" step "$spec" & # it becomes srun
steps=$!
sealed=''

# A trap ends a wait early, while ranks still run: wait until one was not disturbed.
code=127
while
    caught=''
    wait "$steps" 2> /dev/null
    status=$?
    [ "$status" -eq 127 ] || code=$status # 127: an earlier wait has told it
    [ -n "$caught" ]
do :; done

# One writer at a time: the relay ends after its scontrol, or ends it. One that hangs elsewhere has none: not waited for.
{
    kill "$relay" "$watcher" ${clock:+"$clock"} ${killer:+"$killer"}
    for _ in {1..100}; do
        kill -0 "$relay" || break
        sleep 0.1
    done
    kill -KILL "$relay" "$watcher" ${clock:+"$clock"}
} 2> /dev/null
[ -z "$superseded" ] || exit 213
said=$(python3 "$lib" epilogue "$spec" "$code" "$grace")
told=$?
# No failure is made of a success; and an epilogue that broke is not believed: one that did not, says its code at last.
[ "$code" -eq 0 ] || [ "${said##*$'\n'}" != "$told" ] || code=$told
exit "$code"
