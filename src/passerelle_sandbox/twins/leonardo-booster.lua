-- boost_qos_bprod is for whole nodes: no other job would find room beside it.
function refuse(job)
    if job.qos == "boost_qos_bprod" and gpus_of_a_node(job) < 4 then
        return "boost_qos_bprod takes whole nodes: ask for 4 GPUs of each"
    end
end
