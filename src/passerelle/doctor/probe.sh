# What a canary looks at on its node, told as numbers of the progress file: their names carry the words, since the job's
# comment is the only way home that every gateway has. Nothing here is written but that one line.
set -u
word() { # a text as a metric's name may have it: what else it holds becomes a dash
    local text=${2//[!A-Za-z0-9_.\/-]/-}
    text=$1/${text:-none}
    printf '%s' "${text:0:64}"
}
has() { command -v "$1" > /dev/null 2>&1; }

node=${SLURMD_NODENAME:-$(uname -n)}
architecture=$(uname -m)

gpus=() model=''
if has nvidia-smi; then
    mapfile -t gpus < <(timeout 10 nvidia-smi -L 2> /dev/null | grep '^GPU [0-9]')
    model=${gpus[0]-}
    model=${model#GPU *: }
    model=${model%% (*}
elif has rocm-smi; then
    mapfile -t gpus < <(timeout 10 rocm-smi --showproductname --csv 2> /dev/null | grep '^card')
    model=AMD-$(printf '%s' "${gpus[0]-}" | cut -d, -f2)
fi

networks=()
for each in /sys/class/infiniband/* /sys/class/cxi/* /sys/class/net/hsn* /sys/class/net/ib*; do
    [ ! -e "$each" ] || networks+=("${each##*/}")
done

runtimes=()
for each in apptainer singularity enroot; do
    has "$each" || continue
    case $each in
        enroot) version=$(timeout 10 enroot version 2> /dev/null) ;;
        *) version=$(timeout 10 "$each" --version 2> /dev/null) ;;
    esac
    version=${version##* }
    runtimes+=("$each-${version:-unknown}")
done

egress=0
timeout 5 bash -c ": > /dev/tcp/$1/443" 2> /dev/null && egress=1

room=$(df --output=avail -BG "$PASSERELLE_RUN_DIR" 2> /dev/null | tail -n 1 | tr -dc 0-9)
storage=$(stat --file-system --format=%T "$PASSERELLE_RUN_DIR" 2> /dev/null)

IFS=/ # joins what is several
printf '{"%s":1,"%s":1,"%s":%d,"%s":%d,"%s":%d,"%s":%d,"%s":%d,"%s":%d}\n' \
    "$(word node "$node")" "$(word arch "$architecture")" \
    "$(word gpu "$model")" "${#gpus[@]}" \
    "$(word gres "${SLURM_JOB_GPUS:-${CUDA_VISIBLE_DEVICES:-${ROCR_VISIBLE_DEVICES:-}}}")" "${SLURM_GPUS_ON_NODE:-0}" \
    "$(word fabric "${networks[*]-}")" "${#networks[@]}" \
    "$(word runtime "${runtimes[*]-}")" "${#runtimes[@]}" \
    "$(word egress "$1")" "$egress" \
    "$(word root "$storage")" "${room:-0}" > "$PASSERELLE_PROGRESS_FILE"
