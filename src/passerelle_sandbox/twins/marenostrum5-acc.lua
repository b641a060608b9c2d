-- A QoS must be named; each GPU comes with exactly 20 cores; memory follows the cores and is never asked for.
local PARTITIONS = { acc_interactive = "accinteractive" }

function refuse(job)
    if job.qos == nil then
        return "a QoS is required: --qos=acc_ehpc"
    end
    if job.partition == nil then
        job.partition = PARTITIONS[job.qos] or "acc"
    end
    if not unset(job.min_mem_per_node) or not unset(job.min_mem_per_cpu) then
        return "memory follows the cores: leave --mem out"
    end
    local gpus = gpus_of_a_node(job)
    local tasks = unset(job.ntasks_per_node) and 1 or job.ntasks_per_node
    local cores = tasks * (unset(job.cpus_per_task) and 1 or job.cpus_per_task)
    if gpus == 0 then
        return "ask for GPUs: --gres=gpu:N"
    end
    if cores ~= 20 * gpus then
        return string.format("%d GPUs of a node come with %d cores, not %d", gpus, 20 * gpus, cores)
    end
end
