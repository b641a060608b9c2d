-- The partition takes no job without a GPU.
function refuse(job)
    if job.partition == "gpu" and not asks_for_gpus(job) then
        return "partition gpu takes jobs with a GPU alone: --gres=gpu:N"
    end
end
