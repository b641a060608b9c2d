"""Costs, held against what the sites themselves work out."""

import pytest

from passerelle.profiles import load
from passerelle.profiles.billing import Cost


def cost(  # a site, a partition, and what a job holds of each node for so many hours
    name: str, partition: str, nodes: int, gpus: int, cpus: int, memory_gib: int | None, hours: float, qos: str | None
) -> Cost | None:
    facts = load(name)
    found = facts.partition(partition)
    assert found is not None
    return facts.cost(
        found,
        qos,
        nodes=nodes,
        gpus_per_node=gpus,
        cpus_per_node=cpus,
        memory_per_node_mib=None if memory_gib is None else memory_gib * 1024,
        minutes=round(hours * 60),
    )


@pytest.mark.parametrize(
    "name, partition, held, expected",
    [
        # whole nodes: a node-hour is four GPU-hours, however little of it is used
        ("lumi-g", "standard-g", (1, 8, 56, 480, 1), "4 GPU-hours"),
        ("lumi-g", "standard-g", (1, 1, 7, 60, 1), "4 GPU-hours"),
        ("lumi-g", "standard-g", (16, 8, 56, 480, 12), "768 GPU-hours"),
        # half of the largest of ceil(cores / 8), ceil(memory / 64 GB) and dies
        ("lumi-g", "small-g", (1, 1, 7, 60, 1), "0.5 GPU-hours"),
        ("lumi-g", "small-g", (1, 1, 8, 64, 1), "0.5 GPU-hours"),
        ("lumi-g", "small-g", (1, 1, 16, 60, 1), "1 GPU-hour"),
        ("lumi-g", "small-g", (1, 1, 9, 60, 1), "1 GPU-hour"),
        ("lumi-g", "small-g", (1, 1, 7, 129, 1), "1.5 GPU-hours"),
        ("lumi-g", "dev-g", (2, 4, 28, 240, 0.5), "2 GPU-hours"),
        # one GPU with all 32 cores is a full node; 40,000 core-hours are 1,250 node-hours
        ("leonardo-booster", "boost_usr_prod", (1, 1, 8, None, 1), "8 core-hours"),
        ("leonardo-booster", "boost_usr_prod", (1, 1, 32, None, 1), "32 core-hours"),
        ("leonardo-booster", "boost_usr_prod", (1, 1, 9, None, 1), "9 core-hours"),
        ("leonardo-booster", "boost_usr_prod", (125, 4, 32, 400, 10), "40,000 core-hours"),
        ("marenostrum5-acc", "acc", (1, 4, 80, None, 1), "80 core-hours"),
        ("marenostrum5-acc", "acc", (1, 2, 40, None, 1), "40 core-hours"),
        # 3,500 node-hours are 1,008,000 core-hours, and a job of one GPU pays the node
        ("jupiter-booster", "booster", (350, 4, 288, None, 10), "1,008,000 core-hours"),
        ("jupiter-booster", "booster", (1, 1, 72, None, 1), "288 core-hours"),
        ("meluxina-gpu", "gpu", (1, 1, 16, None, 1), "1 node-hour"),
        ("meluxina-gpu", "gpu", (4, 4, 64, None, 48), "192 node-hours"),
        # GPUs times hours, by eight
        ("karolina-gpu", "qgpu", (1, 1, 16, None, 1), "0.125 node-hours"),
        ("karolina-gpu", "qgpu", (1, 3, 48, None, 8), "3 node-hours"),
        ("karolina-gpu", "qgpu_big", (20, 8, 128, None, 1), "20 node-hours"),
        # 32 cores count as a GPU
        ("deucalion-gpu", "normal-a100-40", (1, 4, 128, None, 1), "4 GPU-hours"),
        ("deucalion-gpu", "normal-a100-40", (1, 1, 64, None, 1), "2 GPU-hours"),
        ("alps-clariden", "normal", (1, 4, 288, None, 12), "12 node-hours"),
        ("alps-daint", "normal", (2, 1, 72, None, 1), "2 node-hours"),
    ],
)
def test_a_job_costs_what_the_site_says(
    name: str, partition: str, held: tuple[int, int, int, int | None, float], expected: str
) -> None:
    assert str(cost(name, partition, *held, qos=None)) == expected


def test_a_qos_of_whole_nodes_bills_whole_nodes() -> None:
    held = (65, 1, 8, None, 1)

    assert cost("leonardo-booster", "boost_usr_prod", *held, qos=None) == Cost(65 * 8, "core-hour")
    assert cost("leonardo-booster", "boost_usr_prod", *held, qos="boost_qos_bprod") == Cost(65 * 32, "core-hour")


@pytest.mark.parametrize("name", ["vega-gpu", "discoverer-plus", "arrhenius-gpu", "sandbox"])
def test_where_the_formula_is_unknown_so_is_the_cost(name: str) -> None:
    assert cost(name, load(name).default_partition, 1, 1, 1, None, 1, qos=None) is None
