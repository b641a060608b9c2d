# Above stand this attempt's own values and files; from here on the script is the same for every attempt.
ulimit -c 0
ulimit -n "$(ulimit -H -n)" # a job that came by REST inherits no login shell's limits
for tool in python3 scontrol srun; do
    command -v "$tool" > /dev/null || fault "this node has no $tool"
done

# Nothing but this job's own directory is touched before the claim is ours.
python3 "$lib" claim take "$run" "$attempt" "$here/owner.json" || exit
python3 "$lib" prepare "$spec" || fault "$here can't be prepared"

# Rendezvous, computed here on the host: inside a container scontrol is missing, and "localhost" makes worlds of one.
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
[ -n "$MASTER_ADDR" ] || fault "scontrol names no first host in $SLURM_JOB_NODELIST"
MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000)) # below the ephemeral range; another job on the node has another
export MASTER_ADDR MASTER_PORT

# The contract with the trainer. Caches land in the run's own home: the user's may be small, or not mounted on nodes.
export PASSERELLE_JOB=$marker PASSERELLE_ATTEMPT=$attempt PASSERELLE_RUN_DIR=$run PASSERELLE_ATTEMPT_DIR=$here
export PASSERELLE_PROGRESS_FILE=$here/progress.jsonl PASSERELLE_STOP_FILE=$here/stop
USER=$(id -un)
export USER HOME=$run/home
mkdir -p "$HOME" || fault "$HOME can't be made"
export SRUN_CPUS_PER_TASK=$cpus_per_task # since 22.05 srun does not take sbatch's word for it

# Traps come before what they end. A signal reaches this shell alone; trainers see the stop file, or Slurm's own signals.
steps='' caught='' superseded=''
trap 'caught=1; : > "$PASSERELLE_STOP_FILE"' USR1
trap 'caught=1; : > "$PASSERELLE_STOP_FILE"; [ -n "$steps" ] || exit 143; kill -TERM "$steps"' TERM INT
trap 'caught=1; superseded=1; [ -n "$steps" ] || exit 213; kill -TERM "$steps"' USR2

python3 "$lib" claim watch "$run" "$attempt" "$here/owner.json" "$$" 30 &
watcher=$!
python3 "$lib" relay "$spec" &
relay=$!

# --wait: when one task has ended, the others get a minute; a rank that never comes back costs no more than that. No
# --unbuffered: with --label it tears a line that was written in pieces, as Python's print does, into labelled shreds.
srun --nodes="$nodes" --ntasks="$tasks" --ntasks-per-node="$tasks_per_node" --cpus-per-task="$cpus_per_task" \
    --mpi=none --kill-on-bad-exit=1 --wait=60 --label \
    python3 "$lib" rank "$spec" &
steps=$!

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
    kill "$relay" "$watcher"
    for _ in {1..100}; do
        kill -0 "$relay" || break
        sleep 0.1
    done
    kill -KILL "$relay" "$watcher"
} 2> /dev/null
[ -z "$superseded" ] || exit 213
said=$(python3 "$lib" epilogue "$spec" "$code")
told=$?
# No failure is made of a success; and an epilogue that broke is not believed: one that did not, says its code at last.
[ "$code" -eq 0 ] || [ "${said##*$'\n'}" != "$told" ] || code=$told
exit "$code"
