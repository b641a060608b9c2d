-- The frame of every rule: the machine's own file, above, holds `refuse(job)`, which says why a job can't be, or nil.
-- A rule may also complete a job, as the machine's plugin does.

-- GPUs of a node that the job asks for; 0 where it asks for none a node.
function gpus_of_a_node(job)
    local asked = job.tres_per_node or ""
    return tonumber(asked:match("gpu:(%d+)") or asked:match("gpu:%a%w*:(%d+)") or asked:match("gpu=(%d+)")
        or asked:match("gpu:%a%w*=(%d+)") or (asked:find("gpu") and 1) or 0)
end

-- Whether the job asks for a GPU in any of the ways there are.
function asks_for_gpus(job)
    for _, asked in ipairs({ "tres_per_node", "tres_per_job", "tres_per_task", "tres_per_socket" }) do
        if (job[asked] or ""):find("gpu") then
            return true
        end
    end
    return false
end

-- Numbers that nobody set.
function unset(number)
    return number == nil or number == slurm.NO_VAL or number == slurm.NO_VAL16 or number == slurm.NO_VAL64
end

function slurm_job_submit(job, partitions, uid)
    local why = refuse(job)
    if why then
        slurm.log_user("%s", why)
        return slurm.ERROR
    end
    return slurm.SUCCESS
end

function slurm_job_modify(job, record, partitions, uid)
    return slurm.SUCCESS
end

return slurm.SUCCESS
