"""Batch -> ADL: what A-REX is told, what it can't be told, and the script that arrives whole."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from passerelle.batch import Batch
from passerelle.errors import Rejected
from passerelle.gateways.arc import payload
from passerelle.gateways.arc.describe import ADL, description, passed_on
from unit.gateways.scripted_server import BATCH, OPTIONS

FULL = dataclasses.replace(
    OPTIONS,
    account="d2026-users",
    qos="normal",
    reservation="maint",
    constraint="amd|intel",
    exclude=("gn01", "gn02"),
    nodes=2,
    tasks_per_node=4,
    cpus_per_task=16,
    memory_per_node_mib=480_000,
    gpus_per_node=4,
    threads_per_core=1,
    time_limit_minutes=90,
    warning_seconds=300,
)


def batch(**options: Any) -> Batch:
    return dataclasses.replace(BATCH, options=dataclasses.replace(OPTIONS, **options))


def read(document: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in ET.fromstring(document).iter():  # noqa: S314 -- our own
        found.setdefault(each.tag.removeprefix(f"{{{ADL}}}"), []).append(each.text or "")
    return found


def test_a_plain_job_needs_no_runtime_environment() -> None:
    told = read(description(batch(nodes=3, memory_per_node_mib=200), None))
    assert told["Name"][0] == OPTIONS.name
    assert told["QueueName"] == ["gpu"]
    assert told["WallTime"] == ["300"]
    assert (told["NumberOfSlots"], told["SlotsPerHost"]) == (["3"], ["1"])
    assert told["IndividualPhysicalMemory"] == [str(200 * 1024 * 1024)]
    assert "RuntimeEnvironment" not in told
    assert "InputFile" not in told, "a job is there whole or not at all: nothing is uploaded after it"


def test_the_others_options_travel_as_arguments_of_the_environment() -> None:
    told = read(description(dataclasses.replace(BATCH, options=FULL), "ENV/PASSERELLE"))
    assert told["RuntimeEnvironment"] == [""]
    assert told["Name"][:2] == [OPTIONS.name, "ENV/PASSERELLE"]
    assert told["Option"] == [
        "--account=d2026-users",
        "--qos=normal",
        "--reservation=maint",
        "--constraint=amd|intel",
        "--exclude=gn01,gn02",
        "--nodes=2",
        "--cpus-per-task=16",
        "--threads-per-core=1",
        "--mem=480000M",
        "--gpus-per-node=4",
    ]
    assert (told["NumberOfSlots"], told["SlotsPerHost"], told["WallTime"]) == (["8"], ["4"], ["5400"])
    assert "IndividualPhysicalMemory" not in told, "memory a node and memory a CPU exclude each other"


@pytest.mark.parametrize(
    "request_, expected",
    [("gpus-per-node", "--gpus-per-node=a100:4"), ("gres", "--gres=gpu:a100:4"), ("gpus", "--gpus=a100:8")],
)
def test_gpus_are_asked_for_as_the_site_wants(request_: str, expected: str) -> None:
    asked = dataclasses.replace(FULL, gpu_type="a100", gpu_request=request_)  # type: ignore[arg-type]  # its words
    assert expected in passed_on(asked)


@pytest.mark.parametrize(
    "options, word",
    [
        ({"account": "a"}, "--account"),
        ({"qos": "q"}, "--qos"),
        ({"gpus_per_node": 4}, "--gpus-per-node"),
        ({"cpus_per_task": 4}, "--cpus-per-task"),
        ({"nodes": 2, "tasks_per_node": 2}, "--nodes"),
        ({"exclude": ("n1",)}, "--exclude"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_and_never_left_out(options: dict[str, Any], word: str) -> None:
    with pytest.raises(Rejected, match=word) as caught:
        description(batch(**options), None)
    assert (caught.value.reason, caught.value.transient) == ("NotExpressible", False)
    assert "gateway.runtimeEnvironment" in caught.value.message
    assert f"<Option>{word}" in description(batch(**options), "PASSERELLE")


def test_a_partition_whose_nodes_come_whole_needs_no_word_for_gpus() -> None:
    assert "Option" not in read(description(batch(gpus_per_node=4, gpu_request="none"), None))


@pytest.mark.parametrize("account", ["a b", "a;b", "a$(x)", "a'b", 'a"b', "a\nb", "a*b", "[ab]", "é"])
def test_nothing_that_a_shell_reads_is_passed_on(account: str) -> None:
    with pytest.raises(Rejected, match="read by a shell"):
        description(batch(account=account), "PASSERELLE")


def test_requeueing_is_not_arcs() -> None:
    with pytest.raises(Rejected, match="requeue"):
        description(batch(requeue=True), "PASSERELLE")


def test_a_script_too_long_for_a_command_line_is_refused() -> None:
    noise = "".join(chr(33 + byte % 90) for byte in os.urandom(200_000))
    with pytest.raises(Rejected, match="bytes of a command line"):
        description(dataclasses.replace(BATCH, script=f"#!/bin/sh\n# {noise}\n"), None)


def test_arguments_hold_nothing_that_arex_would_change() -> None:
    """It writes them between double quotes, where $ ` \\ and " mean something, and cuts them at line ends."""
    odd = dataclasses.replace(BATCH, script="#!/bin/sh\necho \"$HOME\" '`x`' \\\n# é\n")
    flag, command = payload.arguments(odd)
    assert flag == "-c"
    assert not set(command) & set("$`\\\"'\n\r\t*?[~")
    assert command.isascii()


def test_other_words_of_sbatch_are_refused() -> None:
    with pytest.raises(Rejected, match="another word of sbatch"):
        description(batch(standard_output="/run/%x-%j.out"), None)


OPTIONS_SH = Path(payload.__file__).with_name("options.sh")


def sourced(*arguments: str, stage: str = "0", before: str = "") -> subprocess.CompletedProcess[str]:
    """The runtime environment, sourced as A-REX does: arguments between literal quotes, split and globbed once."""
    quoted = " ".join(f'"{each}"' for each in arguments)
    script = f"""
        sourcewithargs() {{ script=$1; shift; . $script; }}
        CONFIG_defaultmemory=100 joboption_memory=200
        {before}
        args_value='{stage} {quoted}'
        sourcewithargs {OPTIONS_SH} $args_value || exit 9
        i=0
        while eval "[ -n \\"\\${{joboption_nodeproperty_$i+x}}\\" ]"; do
            eval "echo \\"\\$joboption_nodeproperty_$i\\""
            i=$((i + 1))
        done
        echo "memory=$joboption_memory$CONFIG_defaultmemory"
    """
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, timeout=20)


def test_the_runtime_environment_hands_all_options_to_sbatch() -> None:
    options = passed_on(dataclasses.replace(FULL, constraint="(a&b)|c"))
    done = sourced(*options, before="joboption_nodeproperty_0=--exclusive")
    assert done.stdout.splitlines() == ["--exclusive", *options, "memory="], done.stderr
    without = [each for each in options if not each.startswith("--mem=")]
    assert sourced(*without).stdout.splitlines() == [*without, "memory=200100"]
    assert sourced("--account=x", stage="1").stdout.splitlines() == ["memory=200100"]


@pytest.mark.parametrize(
    "option", ["--wrap=id", "--uid=0", "--export=ALL", "x", "--account=a;id", "--account=$(id)", "--account=`id`"]
)
def test_the_runtime_environment_passes_nothing_else_on(option: str) -> None:
    done = sourced(option)
    assert done.returncode == 1
    assert "not passed on" in done.stderr + done.stdout
