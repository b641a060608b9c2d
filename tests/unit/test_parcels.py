"""What travels beside a script, and how it gets to the site."""

from __future__ import annotations

import asyncio
import io
import os
import zipfile
from collections.abc import Awaitable, Callable
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest

from passerelle.batch import SCRIPT_LIMIT
from passerelle.brought import Brought, Sealed
from passerelle.delivery import deliver, discard
from passerelle.errors import Invalid, PasserelleError, Rejected, Unauthorized, Unavailable
from passerelle.gate import WAITING
from passerelle.gateways.base import Gateway, Identity, Listing, Traits, Upload
from passerelle.gateways.memory import Memory
from passerelle.gateways.memory_files import File
from passerelle.gateways.open import DRIVERS, open_gateway
from passerelle.gateways.trust import Trust
from passerelle.parcels import CARRIERS, PARCEL_LIMIT, Parcel, check_size, no_way, payload, sealed
from passerelle.render import NeedsFiles, packed, render
from passerelle.v1alpha1.site import SiteSpec
from passerelle.watch import SiteWatch
from plans import job, planned, site

LARGE = (("/w/a.bin", os.urandom(SCRIPT_LIMIT)), ("/w/b/c.py", b"x"))
ME = Identity("memory", "startup")
PARCEL = Parcel("/scratch/run/one.sealed", b"c4n4ry")


def spec_of(driver: str) -> SiteSpec:
    gateway: dict[str, Any] = {"driver": driver, "url": "https://site.example", "credentials": {"name": "token"}}
    gateway |= {
        "ssh": {"url": "ssh://site.example"},
        "unicore": {"url": "https://site.example/S/rest/core"},
        "firecrest": {"system": "s"},
    }.get(driver, {})
    return site(gateway=gateway)


@pytest.mark.parametrize("driver", DRIVERS)
async def test_the_drivers_that_carry_files_are_known_by_name(driver: str) -> None:
    def nobody() -> Any:
        raise Unauthorized("none")

    gateway = open_gateway(spec_of(driver), nobody, Trust())
    try:
        assert isinstance(gateway, Upload) == (driver in CARRIERS)
    finally:
        await gateway.close()


def test_what_fits_into_the_script_travels_in_it() -> None:
    batch, beside = packed(planned(files=(("/w/a", b"x"),)), carried=True)

    assert beside is None
    assert batch == render(planned(files=(("/w/a", b"x"),)))


def test_what_does_not_fit_travels_beside_it_whole() -> None:
    plan = planned(files=LARGE)
    batch, beside = packed(plan, carried=True)

    assert beside is not None
    assert beside == payload(planned(files=LARGE))
    assert beside.parcel.mode == 0o600
    assert beside.path == f"{plan.run_directory}/files-{beside.digest}.zip"
    assert beside.digest in batch.script
    assert len(batch.script) < SCRIPT_LIMIT
    with zipfile.ZipFile(io.BytesIO(beside.parcel.content)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            "0/a.bin": LARGE[0][1],
            "0/b/c.py": LARGE[1][1],
        }


def test_other_files_are_another_script() -> None:
    one, _ = packed(planned(files=LARGE), carried=True)
    other, _ = packed(planned(files=(*LARGE[:1], ("/w/b/c.py", b"y"))), carried=True)

    assert one.digest != other.digest


def test_without_a_way_it_is_refused_and_the_answer_says_that_there_is_none() -> None:
    with pytest.raises(NeedsFiles, match="behind this gateway there is no other way") as refused:
        packed(planned(files=LARGE), carried=False)

    assert refused.value.reason == "NeedsFiles"
    assert "64 KiB" in str(refused.value)


def test_what_the_user_wrote_in_the_spec_has_no_other_way_anywhere() -> None:
    with pytest.raises(Invalid, match="write them as files of a ConfigMap") as refused:
        packed(planned(job(args=["x" * 30_000] * 3)), carried=True)

    assert refused.value.reason == "ScriptTooLong"


def test_a_parcel_shows_nothing_of_its_content() -> None:
    secrets = Sealed(variables={"A": "c4n4ry"}, files=(("/w/k", b"c4n4ry"),))
    plan = planned(brought=Brought(sealed=secrets, sealed_folders=("/w",)))
    parcel = sealed(plan, secrets)

    assert b"c4n4ry" in parcel.content
    assert "c4n4ry" not in repr((parcel, plan, secrets, payload(plan)))
    assert parcel.path == f"{plan.run_directory}/{plan.marker}.sealed"


def test_whoever_has_no_way_for_a_secret_is_told_what_to_do() -> None:
    assert no_way(["wandb"], "lumi", "slurmrestd").startswith(
        "Secret wandb would travel in a file of its own, and the slurmrestd gateway of Site lumi carries no files; put"
    )


Act = Callable[[SiteWatch], Awaitable[object]]


async def acted(gateway: Gateway, act: Act) -> None:
    async def renewed() -> None:
        pass

    watch = SiteWatch(
        "lumi",
        gateway,
        period=1.0,
        progress_period=30.0,
        renew=renewed,
        on_change=lambda _: None,
        on_site=lambda: None,
        run_directory=lambda *_: None,
    )
    await watch.look()
    await act(watch)


def memory() -> Memory:
    return Memory(clock=asyncio.get_running_loop().time)


async def test_a_delivery_makes_the_directory_and_writes_in_the_place_of_what_is_there() -> None:
    door = memory()
    door.files[PARCEL.path] = File(b"older", 0o644)

    await acted(door, lambda watch: deliver(watch, [PARCEL], ME))

    assert door.files[PARCEL.path] == File(b"c4n4ry", 0o600)
    assert "/scratch/run" in door.directories


@pytest.mark.parametrize(
    "error, kind, transient",
    [
        (Rejected("No room.", reason="NotWritten"), Rejected, True),
        (Unavailable("No answer.", reason="Unreachable", retry_after=7.0), Unavailable, None),
        (Unauthorized("Expired.", reason="TokenExpired"), Unauthorized, None),
        (Invalid("Too long.", reason="TooLong"), Rejected, False),
    ],
)
async def test_what_stops_a_delivery_says_who_must_act_and_when_it_is_tried_again(
    error: PasserelleError, kind: type[PasserelleError], transient: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Memory, "write", AsyncMock(side_effect=error))
    with pytest.raises(kind, match="Nothing is submitted while the job's files") as refused:
        await acted(memory(), lambda watch: deliver(watch, [PARCEL], ME))

    assert (refused.value.reason, getattr(refused.value, "transient", None)) == (error.reason, transient)
    assert str(error) in str(refused.value)
    if isinstance(refused.value, Unavailable):
        assert (refused.value.sent, refused.value.retry_after) == (False, 7.0)


def test_what_not_every_gateway_carries_is_refused() -> None:
    check_size(Parcel("/run/a", b"x" * PARCEL_LIMIT))

    with pytest.raises(Invalid, match="put large files at the site, or have them copied there as data") as refused:
        check_size(Parcel("/run/a", b"x" * (PARCEL_LIMIT + 1)))
    assert refused.value.reason == "FilesTooLarge"


async def test_nothing_is_delivered_to_another_than_the_intent_s() -> None:
    door = memory()

    with pytest.raises(Unavailable) as waits:
        await acted(door, lambda watch: deliver(watch, [PARCEL], Identity("memory", "other")))

    assert (waits.value.reason, waits.value.sent) == (WAITING, False)
    assert door.files == {}


async def test_a_gateway_that_lost_its_way_for_files_refuses() -> None:
    class Door:
        """A Gateway and nothing else."""

        settle_seconds = 1.0
        traits = Traits(listing=Listing.EACH)

        def __init__(self) -> None:
            self.probe = memory().probe

    with pytest.raises(Rejected) as refused:
        await acted(cast("Gateway", Door()), lambda watch: deliver(watch, [PARCEL], ME))

    assert refused.value.reason == "NeedsFiles"


async def test_where_nothing_can_be_removed_an_empty_file_takes_its_place() -> None:
    site_ = memory()
    site_.files[PARCEL.path] = File(b"c4n4ry")

    class Writing:
        settle_seconds = 1.0
        traits = Traits(listing=Listing.EACH)

        def __init__(self) -> None:
            self.probe, self.size, self.read = site_.probe, site_.size, site_.read
            self.write, self.make_directory = site_.write, site_.make_directory

    await acted(cast("Gateway", Writing()), lambda watch: discard(watch, PARCEL.path, ME))
    assert site_.files[PARCEL.path].content == b"\n"
    await acted(cast("Gateway", Writing()), lambda watch: discard(watch, "/scratch/run/other", ME))
    assert set(site_.files) == {PARCEL.path}


async def test_what_can_t_be_removed_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    door = memory()
    door.files[PARCEL.path] = File(b"c4n4ry")

    async def leave(watch: SiteWatch) -> None:
        door.token = "another"
        await discard(watch, PARCEL.path, ME)

    await acted(door, leave)

    (record,) = caplog.records
    assert record.getMessage() == "a parcel was left"
