"""Plan -> Batch: ordered options, the job's whole environment, and the script. Pure.

Options are data, since REST gateways ignore `#SBATCH` lines; each driver writes them in its own dialect.
"""

from __future__ import annotations

from passerelle.batch import SCRIPT_LIMIT, Batch, Options
from passerelle.errors import Invalid
from passerelle.parcels import Payload, payload
from passerelle.plan import Plan
from passerelle.script import script

ENVIRONMENT = (
    ("LANG", "C.UTF-8"),
    ("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"),
    ("PYTHONDONTWRITEBYTECODE", "1"),  # the attempt's directory holds what was sent, no caches
    ("SLURM_TIME_FORMAT", "standard"),  # the claim compares times as text
)
"""What every batch script starts with; nothing of the submitter leaks in. The script itself sets HOME and the rest."""


class NeedsFiles(Invalid):
    """The Site's gateway would have to carry files for this job."""

    reason = "NeedsFiles"


def render(plan: Plan, beside: Payload | None = None) -> Batch:
    """What is submitted; `beside` has the content of the files, where they don't travel in the script. Raises Invalid
    where the script would be too long.
    """
    text = script(plan, beside)
    if len(text) <= SCRIPT_LIMIT:
        return Batch(options=_options(plan), environment=ENVIRONMENT, script=text, report=plan.report_path)
    beyond = len(text) - SCRIPT_LIMIT
    if beside is not None:
        text = f"The job's script would be {beyond} bytes too long by command, args and env, without its files; write "
        raise Invalid(f"{text}them as files of a ConfigMap.", reason="ScriptTooLong")
    files = sum(len(file.data) for file in plan.mounts.files)
    raise NeedsFiles(
        f"The job's script, which has room for 64 KiB, would be {beyond} bytes too long: files, command, args and env "
        f"travel in it, and behind this gateway there is no other way. The files have {files} bytes, a third more in "
        "the script; put large ones at the site, and name their paths."
    )


def packed(plan: Plan, *, carried: bool) -> tuple[Batch, Payload | None]:
    """What is submitted, and the payload of files that its script has no room for, where a gateway has `carried` it.
    Raises Invalid where there is no way for them.
    """
    try:
        return render(plan), None
    except NeedsFiles:
        if not carried:
            raise
    beside = payload(plan)
    return render(plan, beside), beside


def _options(plan: Plan) -> Options:
    return Options(
        name=plan.marker,
        account=plan.account,
        partition=plan.partition,
        qos=plan.qos,
        reservation=plan.reservation,
        nodes=plan.nodes,
        tasks_per_node=plan.tasks_per_node,
        cpus_per_task=plan.cpus_per_task,
        memory_per_node_mib=plan.memory_per_node_mib,
        gpus_per_node=plan.gpus_per_node,
        gpu_type=plan.gpu_type,
        gpu_request=plan.gpu_request,
        threads_per_core=plan.threads_per_core,
        exclude=plan.exclude,
        time_limit_minutes=plan.time_limit_minutes,
        warning_seconds=plan.warning_seconds,
        working_directory=plan.run_root,
        standard_output=plan.log_path,
        standard_error=plan.log_path,
    )
