"""Batch -> the description of a job that A-REX takes, in ADL (the XML of EMI ES), and what can't be said in it. Pure.

A-REX writes sbatch's options by itself, and knows few: the queue, tasks, tasks a node, the time limit, memory a CPU.
It has no word for an account, a QoS, nodes, CPUs a task or a GPU. What is missing reaches sbatch through a runtime
environment of the site's: a script of the administrator's that A-REX sources before it writes the options, with the
arguments that we give. `options.sh` beside this file is such a script; where the Site names none, a job that needs one
of these options is refused, with a sentence that says which: never does a job run without what it asks for.

Not asked for in either case: the warning signal (it would end A-REX's own script; the clock of onsite/ takes its
place), and `--no-requeue`, which A-REX always writes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from passerelle.batch import Batch, Options
from passerelle.errors import Rejected
from passerelle.gateways.arc import payload

ADL = "http://www.eu-emi.eu/es/2010/12/adl"
MEBIBYTE = 1024 * 1024
BOOTSTRAP_LOG = "bootstrap.log"
"""In the session directory: what was said before the job's own log was open."""

_ARGUMENT = re.compile(r"--[a-z-]+(=[A-Za-z0-9_.:/@%+,=&|()-]+)?")
"""What an argument may be: A-REX splits and globs it once, unquoted."""


def description(batch: Batch, environment: str | None) -> str:
    """The document. `environment` is the runtime environment that passes options on. Raises Rejected for what can't be
    asked for.
    """
    try:
        arguments = payload.arguments(batch)
    except ValueError as error:
        raise Rejected(f"ARC can't carry the job's script: {error}.", reason="NotExpressible") from None
    return command(batch.options, arguments, environment)


def command(asked: Options, arguments: Sequence[str], environment: str | None) -> str:
    """Of a job that starts a shell with these arguments in its session directory."""
    if asked.requeue:
        text = "ARC never lets Slurm requeue a job; leave requeueing to Passerelle's retries."
        raise Rejected(text, reason="NotExpressible")
    options = passed_on(asked)
    if options and environment is None:
        words = ", ".join(option.partition("=")[0] for option in options)
        text = (
            f"ARC has no words for {words}; have the site install Passerelle's runtime environment, and write its name "
            "into gateway.runtimeEnvironment of the Site."
        )
        raise Rejected(text, reason="NotExpressible")
    for option in options:
        if not _ARGUMENT.fullmatch(option):
            raise Rejected(f"ARC can't pass {option!r} on: it would be read by a shell.", reason="NotExpressible")
    return _document(asked, arguments, environment if options else None, options)


def passed_on(asked: Options) -> list[str]:
    """The options of sbatch that A-REX does not write by itself, in a fixed order."""
    plain = asked.tasks_per_node == 1 and asked.cpus_per_task == 1
    found: list[tuple[str, str | int | None]] = [
        ("account", asked.account),
        ("qos", asked.qos),
        ("reservation", asked.reservation),
        ("constraint", asked.constraint),
        ("exclude", ",".join(asked.exclude) or None),
        ("nodes", None if plain else asked.nodes),  # tasks a node are at most so many: they might spread over more
        ("cpus-per-task", None if asked.cpus_per_task == 1 else asked.cpus_per_task),
        ("threads-per-core", asked.threads_per_core),
        ("mem", None if plain or asked.memory_per_node_mib is None else f"{asked.memory_per_node_mib}M"),
        _gpus(asked),
    ]
    return [f"--{name}={value}" for name, value in found if value is not None]


def _gpus(asked: Options) -> tuple[str, str | None]:
    each = asked.gpu_count(asked.gpus_per_node)
    values = {"gpus-per-node": each, "gres": f"gpu:{each}", "gpus": asked.gpu_count(asked.gpus)}
    return asked.gpu_request, values.get(asked.gpu_request) if asked.gpus else None


def _document(asked: Options, arguments: Sequence[str], environment: str | None, options: list[str]) -> str:
    root = ET.Element("ActivityDescription", xmlns=ADL)
    _add(_add(root, "ActivityIdentification"), "Name", asked.name)
    application = _add(root, "Application")
    executable = _add(application, "Executable")
    _add(executable, "Path", payload.SHELL)
    for argument in arguments:
        _add(executable, "Argument", argument)
    _add(application, "Output", BOOTSTRAP_LOG)
    _add(application, "Error", BOOTSTRAP_LOG)
    resources = _add(root, "Resources")
    if environment is not None:
        runtime = _add(resources, "RuntimeEnvironment")
        _add(runtime, "Name", environment)
        for option in options:
            _add(runtime, "Option", option)
    slots = _add(resources, "SlotRequirement")
    _add(slots, "NumberOfSlots", str(asked.tasks))
    _add(slots, "SlotsPerHost", str(asked.tasks_per_node))
    if asked.partition:
        _add(resources, "QueueName", asked.partition)
    if asked.memory_per_node_mib is not None and not any(option.startswith("--mem=") for option in options):
        _add(resources, "IndividualPhysicalMemory", str(asked.memory_per_node_mib * MEBIBYTE))  # a task, so a node's
    _add(resources, "WallTime", str(asked.time_limit_minutes * 60))
    _add(_add(_add(root, "DataStaging"), "OutputFile"), "Name", "/")  # all of the session directory stays to be read
    return ET.tostring(root, encoding="unicode")


def _add(parent: ET.Element, name: str, text: str | None = None) -> ET.Element:
    made = ET.SubElement(parent, name)
    made.text = text
    return made
