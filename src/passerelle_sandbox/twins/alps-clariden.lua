-- All of a node's memory may not be asked for as such.
function refuse(job)
    if job.min_mem_per_node == 0 then
        return "--mem=0 is not allowed: leave it out, or ask for at most 450G"
    end
end
