# Passerelle's runtime environment for ARC CE in front of Slurm: it passes options on to sbatch.
#
# A-REX sources this before it writes a job's options (stage 0), with the options as arguments, each between literal
# quotes. They become what A-REX calls node properties, which it writes behind #SBATCH as they are. Only the options below
# are passed on, and only values that no shell reads; Slurm decides, as ever, whether the user may have what they ask for.
# In the stages on the node there is nothing to do.
#
#   install -m 644 options.sh /etc/arc/PASSERELLE && arcctl rte enable PASSERELLE --force ...
if [ "${1:-}" = 0 ]; then
    passerelle_index=0
    while eval "[ -n \"\${joboption_nodeproperty_$passerelle_index+set}\" ]"; do
        passerelle_index=$((passerelle_index + 1))
    done
    shift
    for passerelle_option in "$@"; do
        passerelle_option=${passerelle_option#\"}
        passerelle_option=${passerelle_option%\"}
        case $passerelle_option in
            *[!A-Za-z0-9_.:/@%+,=\&\|\(\)-]*)
                echo "PASSERELLE: a character in $passerelle_option is not passed on"
                exit 1
                ;;
            --account=* | --qos=* | --reservation=* | --constraint=* | --exclude=* | --nodes=* | --cpus-per-task=* | \
                --threads-per-core=* | --gpus-per-node=* | --gres=* | --gpus=*) ;;
            --mem=*)
                CONFIG_defaultmemory=
                joboption_memory=
                ;;
            *)
                echo "PASSERELLE: $passerelle_option is not passed on"
                exit 1
                ;;
        esac
        eval "joboption_nodeproperty_$passerelle_index=\$passerelle_option"
        passerelle_index=$((passerelle_index + 1))
    done
fi
