"""GPUs, cores and memory: does a node hold them, and is everything used that is paid for?"""

from __future__ import annotations

from collections.abc import Iterator

from passerelle.preflight.finding import Finding, Patch, graded, removed, warning
from passerelle.preflight.refusals import or_sharing, without_variable
from passerelle.preflight.request import Request
from passerelle.profiles import Cost, mib

_MIB_PER_GIB = 1024
_THREADS = frozenset({"MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"})
_WORKERS = frozenset({"--dataloader-num-workers", "--num-workers", "--workers"})


def findings(request: Request) -> Iterator[Finding]:
    yield from _gpus(request)
    yield from _cpus(request)
    yield from _memory(request)
    yield from _threads(request)
    yield from _workers(request)


def _gpus(request: Request) -> Iterator[Finding]:
    placed, job = request.placed, request.job
    if placed is None or job.gpus_per_node is None or not placed.limits.whole_nodes:
        return
    used, there = placed.size.gpus_per_node, placed.partition.gpus_per_node
    if used >= there:
        return
    cost = _more(request.cost(), used / there)
    paid = f", {cost} for nothing" if cost is not None else ""
    patch: Patch = ()
    if job.gpus is not None and request.takes(job.model_copy(update={"gpus_per_node": None}), request.qos_name):
        patch = removed("gpusPerNode")
    fix = f"Leave gpusPerNode out{or_sharing(request)}"
    per_card = request.profile.gpu.per_card
    if per_card > 1 and used * per_card == there:
        text = (
            f"Slurm counts the dies of the cards, {there} a node: the job uses {used}, and pays the node whole{paid}."
        )
        yield warning("GpuMeansDie", "spec.gpusPerNode", text, fix, patch=patch, cost=cost)
    else:
        text = f"The job uses {used} of the {there} GPUs of each node, and pays the node whole{paid}."
        yield warning("GpusUnused", "spec.gpusPerNode", text, fix, patch=patch, cost=cost)


def _cpus(request: Request) -> Iterator[Finding]:
    """The first that holds."""
    cpus, partition, placed = request.job.cpus_per_gpu, request.partition, request.placed
    if cpus is None or partition is None:
        return
    share, included = partition.cpus_per_gpu, partition.included_cpus_per_gpu
    field, without = "spec.cpusPerGpu", removed("cpusPerGpu")
    if partition.cpus_per_gpu_exact and cpus != share:
        text = f"Partition {partition.name} takes exactly {share} cores with each GPU."
        say = graded(certain=partition.confidence == "high")
        yield say("CpuRatio", field, text, "Leave cpusPerGpu out.", patch=without)
        return
    if placed is None:
        return
    gpus, node = placed.size.gpus_per_node, request.profile.node
    if node.cpus is not None and node.confidence != "low" and cpus * gpus > node.cpus:
        text = f"cpusPerGpu {cpus} makes {cpus * gpus} cores with {gpus} GPUs, and a node offers {node.cpus} to jobs."
        say = graded(certain=node.confidence == "high")
        yield say("CpusExceedNode", field, text, f"Leave cpusPerGpu out; a GPU's share is {share}.", patch=without)
    elif included is not None and cpus > included and not request.takes_whole_nodes:
        cost = _difference(request.cost(), request.cost(cpus=gpus * included))
        paid = f", {cost} more" if cost is not None else ""
        text = f"A GPU's price covers {included} cores, and cpusPerGpu {cpus} is paid like further GPUs{paid}."
        yield warning("CpusBilled", field, text, f"Write at most cpusPerGpu: {included}.", cost=cost)


def _memory(request: Request) -> Iterator[Finding]:
    memory, partition, placed = request.job.memory, request.partition, request.placed
    if memory is None or partition is None:
        return
    field = "spec.memory"
    if not partition.memory_allowed:
        text = f"Partition {partition.name} gives memory with the cores, and takes no job that asks for it."
        say = graded(certain=partition.confidence == "high")
        yield say("MemoryNotAllowed", field, text, "Leave memory out.", patch=removed("memory"))
        return
    node, asked = request.profile.node, mib(memory)
    most = node.memory_mib or node.installed_memory_mib
    if most is not None and node.confidence != "low" and asked > most:
        whole = placed is not None and placed.size.gpus_per_node == partition.gpus_per_node
        text = f"memory {memory} is more than a node offers to jobs, which is {_memory_text(most)}."
        fix = (
            "Leave memory out: with all its GPUs the job gets the node's."
            if whole
            else f"Write at most {_memory_text(most)}."
        )
        say = graded(certain=node.confidence == "high")
        yield say("MemoryTooLarge", field, text, fix, patch=removed("memory") if whole else ())
        return
    share = partition.included_memory_per_gpu_mib
    if share is None or placed is None or request.takes_whole_nodes:
        return
    covered = share * placed.size.gpus_per_node
    if asked > covered:
        each = placed.size.gpus_per_node * partition.cpus_per_gpu  # what cores cost is told of them
        cost = _difference(request.cost(cpus=each, memory_mib=asked), request.cost(cpus=each))
        paid = f", {cost} more" if cost is not None else ""
        text = f"The GPUs' price covers {_memory_text(covered)} a node, and {memory} is paid like further GPUs{paid}."
        yield warning("MemoryBilled", field, text, f"Write at most memory: {_memory_text(covered)}.", cost=cost)


def _threads(request: Request) -> Iterator[Finding]:
    cores = request.cpus_per_process
    if cores is None:
        return
    for place, variable in enumerate(request.job.env):
        if variable.name in _THREADS and _number(variable.value) > cores:
            field = f"spec.env[{place}]"
            text = f"{variable.name} {variable.value} is more than the {cores} cores that each trainer process has."
            fix = "Leave the variable out: OMP_NUM_THREADS is set to a process's cores."
            yield warning("ThreadsTooMany", field, text, fix, patch=without_variable(request, field))


def _workers(request: Request) -> Iterator[Finding]:
    cores = request.cpus_per_process
    if cores is None:
        return
    for name, value, word in request.words.options():
        if name in _WORKERS and _number(value) > cores:
            text = f"{word.name} {value} starts more workers than the {cores} cores that each trainer process has."
            yield warning("WorkerCount", word.field, text, f"Write at most {cores}.")


def _number(text: str) -> int:
    """0 for what is no number."""
    return int(text) if text.isascii() and text.isdigit() else 0


def _memory_text(amount_mib: int) -> str:
    """As spec.memory is written."""
    return f"{amount_mib}Mi" if amount_mib % _MIB_PER_GIB else f"{amount_mib // _MIB_PER_GIB}Gi"


def _more(whole: Cost | None, used: float) -> Cost | None:
    """What is left of a cost when a part of it was of use."""
    return None if whole is None else Cost(whole.amount * (1 - used), whole.unit)


def _difference(larger: Cost | None, smaller: Cost | None) -> Cost | None:
    if larger is None or smaller is None or larger.amount <= smaller.amount:
        return None
    return Cost(larger.amount - smaller.amount, larger.unit)
