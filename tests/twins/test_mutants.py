"""A fact that is wrong in a profile turns its twin red: each flipped here in memory, in a profile that is good."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from passerelle.profiles import Profile, load
from twins.verdicts import check


def another_qos(profile: Profile) -> Profile:
    renamed = [each.model_copy(update={"name": f"{each.name}x"}) for each in profile.qos]
    return profile.model_copy(update={"qos": renamed})


def in_partitions(**change: object) -> Callable[[Profile], Profile]:
    def changed(profile: Profile) -> Profile:
        return profile.model_copy(
            update={"partitions": [each.model_copy(update=change) for each in profile.partitions]}
        )

    return changed


@pytest.mark.parametrize(
    "machine, flip, says",
    [
        ("meluxina-gpu", another_qos, "Invalid qos"),
        ("marenostrum5-acc", in_partitions(cpus_per_gpu=19), "4 GPUs of a node come with 80 cores, not 76"),
        ("jupiter-booster", in_partitions(max_time_minutes=11 * 60), "the profile stops before 661 minutes"),
        ("jupiter-booster", in_partitions(max_time_minutes=13 * 60), "time limit"),
        ("alps-daint", in_partitions(gpus_per_node=8), "node configuration is not available"),
    ],
)
def test_a_wrong_fact_is_seen(machine: str, flip: Callable[[Profile], Profile], says: str) -> None:
    verdict = check(flip(load(machine)), machine)

    assert not verdict.good
    assert [each for each in verdict.complaints if says in each], verdict.complaints
