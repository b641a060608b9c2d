-- GPUs are asked for by --gres, tasks by the node, and the project's QoS by name: the default one is good for nothing.
function refuse(job)
    if job.qos == nil then
        return "a QoS is required: --qos=PROJECT"
    end
    if asks_for_gpus(job) and gpus_of_a_node(job) == 0 then
        return "GPUs are asked for by --gres=gpu:N alone"
    end
    if unset(job.ntasks_per_node) or job.ntasks_per_node == 0 then
        return "--ntasks-per-node is required"
    end
end
