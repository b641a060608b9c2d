-- Who asks for no GPU gets, and presumably pays, all four of the node.
function refuse(job)
    if job.partition == "gpu" and not asks_for_gpus(job) then
        job.tres_per_node = "gres/gpu:4"
    end
end
