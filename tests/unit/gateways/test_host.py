"""What Sites of one host share, and by what that is known."""

from __future__ import annotations

import asyncio
import gc
from functools import partial

import pytest

import virtual_time
from passerelle.gateways.courtesy import Courtesy
from passerelle.gateways.host import Host, address


@pytest.mark.parametrize(
    "one,other",
    [
        ("https://slurm.example.eu", "https://Slurm.example.eu:443/rest/core"),
        ("ssh://login.example.eu", "ssh://login.example.eu:22/"),
        ("http://[::1]:6820", "http://[::1]:6820/v2"),
    ],
)
def test_a_host_is_known_by_its_name_and_port(one: str, other: str) -> None:
    assert address(one) == address(other)


@pytest.mark.parametrize(
    "one,other",
    [
        ("https://slurm.example.eu", "https://slurm.example.eu:6820"),
        ("ssh://login.example.eu", "https://login.example.eu"),
        ("https://a.example.eu:99999", "https://b.example.eu:99999"),
        ("https://[a", "https://[b"),
    ],
)
def test_another_port_is_another_service_and_what_is_no_address_is_nobody_elses(one: str, other: str) -> None:
    assert address(one) != address(other)


def test_first_looks_come_one_after_the_other_and_within_the_period() -> None:
    now = [1000.0]
    host = Host(lambda: now[0])

    assert [host.first_look(3.0) for _ in range(5)] == [0, 1, 2, 0, 1]
    now[0] += 100
    assert host.first_look(3.0) == 0
    assert host.first_look(0.0) == 0


def test_all_sites_of_a_host_hear_that_it_wants_patience_but_those_that_left_it() -> None:
    async def main() -> None:
        clock, told = asyncio.get_running_loop().time, list[int]()
        host = Host(clock)
        sites = [Courtesy(clock, calls_per_hour=100, changed=partial(told.append, each)) for each in range(4)]
        for each in sites:
            each.meet(host)
        sites[1].meet(Host(clock))
        del each, sites[2]
        gc.collect()
        sites[0]._asked_for_patience(60)
        assert sorted(told) == [0, 3]
        assert [each.patience_left > 0 for each in sites] == [True, False, True]

    virtual_time.run(main())
