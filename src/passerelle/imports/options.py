"""The options of the commands that people start trainers with: which of them take a value. Pure.

Without it nobody can say where a launcher's own options end and the trainer's command begins. Sources: torchrun,
accelerate launch, deepspeed, Open MPI's and Hydra's mpirun, srun, apptainer: each with --help.
"""

from __future__ import annotations

from dataclasses import dataclass

from passerelle.imports.shelltext import Word


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


@dataclass(frozen=True, slots=True)
class Syntax:
    """`valued` options take the next word, or what follows `=`; `paired` take two words; `plain` ones take nothing.

    `ours` are dropped without a note: the launcher, the Site or the profile sets what they set. `short`: one-letter
    options may carry their value: -n4.
    """

    valued: frozenset[str]
    plain: frozenset[str] = frozenset()
    paired: frozenset[str] = frozenset()
    ours: frozenset[str] = frozenset()
    short: bool = False


@dataclass(frozen=True, slots=True)
class Option:
    """One option as it stood; `value` is None where it has none. Names have dashes, whatever was written."""

    name: str
    value: Word | None = None
    second: Word | None = None
    known: bool = True


TORCHRUN = Syntax(
    valued=_names(
        "--nnodes --nproc-per-node --node-rank --master-addr --master-port --rdzv-backend --rdzv-endpoint --rdzv-id "
        "--rdzv-conf --max-restarts --monitor-interval --start-method --event-log-handler --role --log-dir "
        "--redirects -r --tee -t --local-ranks-filter --local-addr --logs-specs --numa-binding --signals-to-handle "
        "--virtual-local-rank --nproc_per_node"
    ),
    plain=_names("--standalone --no-python --run-path -m --module --use-env --duplicate-stdout-filters"),
    ours=_names(
        "--nnodes --nproc-per-node --node-rank --master-addr --master-port --rdzv-backend --rdzv-endpoint --rdzv-id "
        "--rdzv-conf --standalone --use-env --no-python --local-addr --log-dir --redirects -r --tee -t --role "
        "-m --module --monitor-interval --start-method"
    ),
)
ACCELERATE = Syntax(
    valued=_names(
        "--config-file --num-processes --num-machines --num-cpu-threads-per-process --machine-rank --main-process-ip "
        "--main-process-port --mixed-precision --dynamo-backend --dynamo-mode --gpu-ids --rdzv-backend --rdzv-conf "
        "--max-restarts --monitor-interval --tee -t --role --log-dir --same-network --main-training-function "
        "--downcast-bf16 --deepspeed-config-file --zero-stage --offload-optimizer-device --offload-param-device "
        "--offload-optimizer-nvme-path --offload-param-nvme-path --gradient-accumulation-steps --gradient-clipping "
        "--zero3-init-flag --zero3-save-16bit-model --deepspeed-hostfile --deepspeed-exclusion-filter "
        "--deepspeed-inclusion-filter --deepspeed-multinode-launcher --deepspeed-moe-layer-cls-names --fsdp-version "
        "--fsdp-offload-params --fsdp-min-num-params --fsdp-sharding-strategy --fsdp-reshard-after-forward "
        "--fsdp-auto-wrap-policy --fsdp-transformer-layer-cls-to-wrap --fsdp-backward-prefetch "
        "--fsdp-state-dict-type --fsdp-forward-prefetch --fsdp-use-orig-params --fsdp-cpu-ram-efficient-loading "
        "--fsdp-sync-module-states --fsdp-activation-checkpointing --megatron-lm-tp-degree --megatron-lm-pp-degree "
        "--megatron-lm-num-micro-batches --megatron-lm-gradient-clipping --fp8-backend"
    ),
    plain=_names(
        "--multi-gpu --cpu --tpu --use-deepspeed --use-fsdp --use-megatron-lm --use-xpu --debug -m --module "
        "--no-python -q --quiet --dynamo-use-fullgraph --dynamo-use-dynamic --enable-cpu-affinity --mps"
    ),
    ours=_names(
        "--num-processes --num-machines --machine-rank --main-process-ip --main-process-port --multi-gpu --gpu-ids "
        "--rdzv-backend --rdzv-conf --same-network --tee -t --role --log-dir -m --module --no-python -q "
        "--quiet"
    ),
)
DEEPSPEED = Syntax(
    valued=_names(
        "-H --hostfile -i --include -e --exclude --num-nodes --min-elastic-nodes --max-elastic-nodes --num-gpus "
        "--master-addr --master-port --launcher --launcher-args --save-pid --enable-each-rank-log --autotuning "
        "--bind-core-list --ssh-port --node-rank --venv-script"
    ),
    plain=_names(
        "--module -m --no-python --no-local-rank --no-ssh-check --no-ssh --force-multi --elastic-training "
        "--bind-cores-to-rank --quick-start"
    ),
    ours=_names(
        "-H --hostfile -i --include --num-nodes --num-gpus --master-addr --master-port --launcher --no-ssh "
        "--node-rank --no-ssh-check --ssh-port --force-multi -m --module --no-python"
    ),
)
MPIRUN = Syntax(
    valued=_names(
        "-np -n -c --np --n -N -npernode --npernode -npersocket -ppn -H -host --host -hosts -hostfile --hostfile "
        "-machinefile --machinefile -f -x -bind-to --bind-to -map-by --map-by -rank-by --rank-by -wdir --wdir -wd "
        "-prefix --prefix -output-filename --output-filename -iface -launcher --launcher -rmk -path --path "
        "--timeout --start-timeout -p --ssh-port --network-interface --network-interfaces -genvlist --num-proc "
        "--display -envlist"
    ),
    plain=_names(
        "--allow-run-as-root -allow-run-as-root --oversubscribe -oversubscribe --tag-output -tag-output -q -v "
        "--verbose --report-bindings -report-bindings --display-map -display-map --display-allocation -prepend-rank "
        "-l --nooversubscribe -genvall -envall --mpi --gloo"
    ),
    paired=_names("-mca --mca -gmca --gmca -pmca --prtemca --pmixmca -genv -env -omca"),
    ours=_names(
        "-np -n -c --np --n -N -npernode --npernode -ppn -H -host --host -hosts -hostfile --hostfile -machinefile "
        "--machinefile -f --allow-run-as-root -allow-run-as-root --oversubscribe -oversubscribe --tag-output "
        "-tag-output -q -v --verbose -l -prepend-rank --num-proc -p --ssh-port -genvall -envall -launcher "
        "--launcher -bind-to --bind-to -map-by --map-by -rank-by --rank-by"
    ),
)
SRUN = Syntax(
    valued=_names(
        "--nodes -N --ntasks -n --ntasks-per-node --cpus-per-task -c --gpus -G --gpus-per-node --gpus-per-task "
        "--gres --gres-flags --mem --mem-per-cpu --mem-per-gpu --mem-bind --cpu-bind --gpu-bind --distribution -m "
        "--mpi --output -o --error -e --input -i --time -t --account -A --partition -p --qos -q --job-name -J --wait "
        "-W --chdir -D --export --nodelist -w --exclude -x --constraint -C --signal --environment --threads-per-core "
        "--hint --jobid --relative -r --network --cpu-freq --reservation --container-image --container-mounts "
        "--container-workdir --container-name --container-env --task-prolog --task-epilog --profile --acctg-freq "
        "--ntasks-per-gpu --tres-per-task --open-mode --multi-prog-config"
    ),
    plain=_names(
        "--exclusive --label -l --unbuffered -u --overlap --exact --kill-on-bad-exit -K --verbose -v -vv --quiet -Q "
        "--pty --no-kill -k --overcommit -O --oversubscribe -s --spread-job --container-mount-home "
        "--no-container-mount-home --container-writable --container-readonly --container-remap-root "
        "--no-container-remap-root --container-entrypoint --no-container-entrypoint --propagate"
    ),
    short=True,
    ours=_names(
        "--nodes -N --ntasks -n --ntasks-per-node --cpus-per-task -c --gpus -G --gpus-per-node --gpus-per-task "
        "--gres --label -l --unbuffered -u --kill-on-bad-exit -K --overlap --exact --exclusive --wait -W --output "
        "-o --error -e --export --mpi --cpu-bind --gpu-bind --mem-bind --jobid -v -vv --verbose --job-name -J "
        "--time -t --account -A --partition -p --qos -q --no-container-mount-home --container-mount-home "
        "--container-image --container-workdir --container-name --container-writable --propagate --pty"
    ),
)
APPTAINER = Syntax(
    valued=_names(
        "-B --bind --mount --pwd --cwd --env --env-file -H --home -o --overlay -W --workdir -S --scratch --network "
        "--network-args --security --app --apply-cgroups --add-caps --drop-caps --hostname --dns --fusemount --memory "
        "--cpus --shm-size --pem-path"
    ),
    plain=_names(
        "--nv --nvccli --rocm -e --cleanenv --no-eval -c --contain -C --containall --no-home --writable-tmpfs "
        "-w --writable --fakeroot -f --no-init --no-privs --keep-privs -u --userns -i --ipc -p --pid -n --net --uts "
        "--no-umask --compat --unsquash --allow-setuid --silent --quiet -s -q"
    ),
    ours=_names(
        "--nv --rocm -e --cleanenv --no-home --silent --quiet -s -q --pwd --cwd --env -c --contain -C "
        "--containall --writable-tmpfs --no-eval -p --pid --no-umask --compat"
    ),
)


def take(words: tuple[Word, ...], syntax: Syntax) -> tuple[list[Option], tuple[Word, ...]]:
    """The options in front, and what follows them. An option that nobody knows is taken to have no value."""
    taken: list[Option] = []
    while words and words[0].lead.startswith("-"):
        lead = words[0].lead
        if words[0].value({}) == "--":
            return taken, words[1:]
        name, equals, _ = lead.partition("=")
        name = name.replace("_", "-") if name.startswith("--") else name
        known = name in syntax.valued | syntax.plain | syntax.paired
        short = name[:2]
        if equals:
            taken.append(Option(name, words[0].after(len(name) + 1), known=known))
            words = words[1:]
        elif name in syntax.paired:
            taken.append(Option(name, *_next(words, 2)))
            words = words[3:]
        elif name in syntax.valued:
            taken.append(Option(name, *_next(words, 1)))
            words = words[2:]
        elif syntax.short and short in syntax.valued and len(lead) > len(short) and not lead.startswith("--"):
            taken.append(Option(short, words[0].after(len(short))))
            words = words[1:]
        else:
            taken.append(Option(name, known=known))
            words = words[1:]
    return taken, words


def _next(words: tuple[Word, ...], count: int) -> tuple[Word | None, Word | None]:
    """The words after an option, as many as it takes and there are."""
    first, second, *_ = (*words[1 : 1 + count], None, None)
    return first, second
