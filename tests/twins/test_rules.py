"""What each machine is known to refuse, its twin refuses: told here a second time, as a user would meet it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from passerelle_sandbox.site.serve import Site

WRAP = "--wrap=true"
TAKEN = "to start at"
ACCOUNT = {
    "leonardo-booster": "AIFAC_P01_001",
    "marenostrum5-acc": "ehpc001",
    "meluxina-gpu": "p200001",
    "vega-gpu": "d2026d01-001-users",
    "discoverer-plus": "ehpc-aif-2026pg01-001",
    "deucalion-gpu": "f202500001g",
    "arrhenius-gpu": "naiss2026-1-0001-gpu",
    "alps-clariden": "g001",
    "lumi-g": "project_465000001",
}
QOS = "--qos=ehpc-aif-2026pg01-001"
RULES = [
    ("lumi-g", "-p standard-g -N 1 --gpus-per-node=8 --ntasks-per-node=8 -c 7", TAKEN),
    ("lumi-g", "-p standard-g -N 1 --gpus-per-node=8 --ntasks-per-node=8 -c 8", "node configuration is not available"),
    ("lumi-g", "-p small-g -N 5 --gpus-per-node=1", "Node count specification invalid"),
    ("lumi-g", "-p standard-g -N 1 --gpus-per-node=8 -t 2-00:01:00", "time limit"),
    ("lumi-g", "-p bench -N 1 --gpus-per-node=8", "Invalid qos"),
    ("leonardo-booster", "-N 1 --gres=gpu:4", "not available"),  # the default partition has no GPU
    ("leonardo-booster", "-p boost_usr_prod -N 1 --gres=gpu:4 --mem=512G", "not available"),
    ("leonardo-booster", "-p boost_usr_prod -N 64 --gres=gpu:4 -t 24:00:00", TAKEN),
    ("leonardo-booster", "-p boost_usr_prod -N 65 --gres=gpu:4", "QOSMaxNodePerJobLimit"),
    ("leonardo-booster", "-p boost_usr_prod -q boost_qos_bprod -N 64 --gres=gpu:4", "QOSMinNode"),
    ("leonardo-booster", "-p boost_usr_prod -q boost_qos_bprod -N 65 --gres=gpu:2", "takes whole nodes"),
    ("leonardo-booster", "-p boost_usr_prod -q boost_qos_bprod -N 256 --gres=gpu:4", TAKEN),
    ("marenostrum5-acc", "-q acc_ehpc --gres=gpu:2 -c 40", TAKEN),
    ("marenostrum5-acc", "-q acc_ehpc --gres=gpu:2 -c 38", "2 GPUs of a node come with 40 cores, not 38"),
    ("marenostrum5-acc", "-q acc_ehpc --gpus-per-node=4 --ntasks-per-node=4 -c 20", TAKEN),
    ("marenostrum5-acc", "--gres=gpu:2 -c 40", "a QoS is required"),
    ("marenostrum5-acc", "-q acc_ehpc --gres=gpu:2 -c 40 --mem=100G", "leave --mem out"),
    ("marenostrum5-acc", "-q acc_ehpc --gres=gpu:2 -c 40 --mem-per-cpu=1G", "leave --mem out"),
    ("meluxina-gpu", "-p gpu -q default -N 50 -t 48:00:00", TAKEN),
    ("meluxina-gpu", "-p gpu -q default -N 51 -t 48:00:00", "QOSMaxNodePerJobLimit"),
    ("meluxina-gpu", "-p gpu -N 1 -t 1:00:00", "a QoS is required"),
    ("meluxina-gpu", "-p gpu -q default -N 1", "a time limit is required"),
    ("meluxina-gpu", "-q default -N 1 -t 1:00:00", "partition"),
    ("meluxina-gpu", "-p gpu -q dev -N 1 -t 1:00:00", "--reservation=gpudev"),
    ("vega-gpu", "-p gpu -N 1", "jobs with a GPU alone"),
    ("vega-gpu", "-p gpu -N 1 --gres=gpu:1", TAKEN),
    ("vega-gpu", "-p gpu --gpus=1", TAKEN),
    ("discoverer-plus", f"-p common --gres=gpu:1 --ntasks-per-node=1 -t 4:00:00 {QOS}", TAKEN),
    ("discoverer-plus", "-p common --gres=gpu:1 --ntasks-per-node=1", "a QoS is required"),
    ("discoverer-plus", "-p common --gres=gpu:1 --ntasks-per-node=1 -q normal -t 1", "QOS"),
    ("discoverer-plus", f"-p common --gpus=1 --ntasks-per-node=1 {QOS}", "by --gres=gpu:N alone"),
    ("discoverer-plus", f"-p common --gres=gpu:1 -n 1 {QOS}", "--ntasks-per-node is required"),
    ("deucalion-gpu", "-p normal-a100-80 --gpus=4", TAKEN),
    ("deucalion-gpu", "-p normal-a100-80 --gpus=4 -A f202500001x", "account"),
    ("arrhenius-gpu", "-p gpu --gpus-per-node=1", TAKEN),
    ("arrhenius-gpu", "-p gpu --gpus-per-node=1 -A naiss2026-1-0001-cpu", "account"),
    ("alps-clariden", "-p normal -N 2 --mem=450G", TAKEN),
    ("alps-clariden", "-p normal -N 2 --mem=0", "--mem=0 is not allowed"),
    ("alps-clariden", "-p debug -N 4 -t 22", TAKEN),
    ("alps-clariden", "-p debug -N 4 -t 24", "QOS"),
]


@pytest.mark.parametrize("machine, words, says", RULES)
def test_a_machine_refuses_what_it_is_known_to_refuse(
    twin: Callable[[str], Site], machine: str, words: str, says: str
) -> None:
    site = twin(machine)
    account = [] if " -A " in words else ["-A", ACCOUNT[machine]]

    done = site.run(["sbatch", "--test-only", *account, *words.split(), WRAP], site.user)

    assert says in done.stderr
    assert (done.returncode == 0) is (says == TAKEN)


def test_who_names_no_account_is_refused(twin: Callable[[str], Site]) -> None:
    site = twin("lumi-g")
    done = site.run(["sbatch", "--test-only", "-p", "dev-g", "-N1", WRAP], site.user)

    assert done.returncode != 0
    assert "Invalid account" in done.stderr


def test_arrhenius_gives_all_gpus_to_who_asks_for_none(twin: Callable[[str], Site]) -> None:
    site = twin("arrhenius-gpu")
    words = ["sbatch", "--hold", "--parsable", "-p", "gpu", "-A", ACCOUNT["arrhenius-gpu"], "-N1", WRAP]
    job = site.run(words, site.user).stdout.strip()

    assert "TresPerNode=gres/gpu:4" in site.run(["scontrol", "show", "job", job]).stdout
