-- A QoS and a time limit must be named; the QoS dev works in its reservation alone.
function refuse(job)
    if job.qos == nil then
        return "a QoS is required: --qos=default"
    end
    if unset(job.time_limit) then
        return "a time limit is required: --time=HH:MM:SS"
    end
    if job.qos == "dev" and job.reservation ~= "gpudev" then
        return "the QoS dev needs --reservation=gpudev"
    end
end
