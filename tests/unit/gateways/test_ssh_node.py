"""Many who lead to one login node: never so many refusals that it would ban us, and nobody waits for another's key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import pairwise

import pytest

from passerelle.errors import PasserelleError, Unauthorized, Unavailable
from passerelle.gateways.open import open_gateway
from passerelle.gateways.ssh import node as nodes
from passerelle.gateways.ssh.driver import Ssh
from passerelle.gateways.ssh.node import MOST_REFUSALS, SPELL_MOST_SECONDS, WINDOW_SECONDS, LoginCut, Node, Nodes
from passerelle.gateways.trust import Trust
from passerelle.v1alpha1.site import SiteSpec
from unit.gateways import login_node
from unit.gateways.login_node import STRANGERS_KEY, LoginNode

REFUSED = Unauthorized("Refused.", reason="LoginRefused")
CUT = LoginCut("Cut.", sent=False)
DOWN = Unavailable("Down.", reason="Unreachable", sent=False)
USERS = [f"user{number}" for number in range(20)]


class World:
    """Each of the users who is out tries each second; `answer` says how that ends, None where he gets in."""

    def __init__(self, users: list[str], answer: Callable[[str, float], PasserelleError | None]) -> None:
        self.now = 0.0
        self.node = Node("login:22", lambda: self.now)
        self.answer = answer
        self.out = list(users)
        self.failed: list[tuple[float, str]] = []
        self.came: dict[str, float] = {}

    async def run(self, seconds: float, step: float = 1.0) -> None:
        end = self.now + seconds
        while self.now < end:
            await asyncio.gather(*(self._try(user) for user in list(self.out)))
            self.now += step

    async def _try(self, user: str) -> None:
        try:
            async with self.node.login("login", user, user):
                await asyncio.sleep(0)
                if (error := self.answer(user, self.now)) is not None:
                    self.failed.append((self.now, user))
                    raise error
        except PasserelleError:
            return
        self.out.remove(user)
        self.came[user] = self.now

    @property
    def worst(self) -> int:
        """The most refusals in ten minutes."""
        times = [moment for moment, _ in self.failed]
        return max((sum(begin <= each < begin + WINDOW_SECONDS for each in times) for begin in times), default=0)


@pytest.mark.parametrize("users", [2, 3, 20])
@pytest.mark.parametrize("error", [REFUSED, CUT])
async def test_a_maintenance_has_few_logins_fail_however_many_lead_there(users: int, error: PasserelleError) -> None:
    over = 2 * 3600.0
    world = World(USERS[:users], lambda _, now: error if now < over else None)
    await world.run(600)
    await world.run(over - 600, step=5.0)

    assert world.worst <= MOST_REFUSALS
    gaps = [later - earlier for earlier, later in pairwise(moment for moment, _ in world.failed)]
    assert gaps[-1] >= SPELL_MOST_SECONDS - 1, "the pause grows"
    await world.run(SPELL_MOST_SECONDS + 2)
    assert not world.out, "and once one gets in, so do the others"
    assert max(world.came.values()) - min(world.came.values()) <= 1


@pytest.mark.parametrize("over", range(20_000, 24_000, 500))
async def test_a_long_maintenance_is_over_for_us_within_a_quarter_of_an_hour(over: int) -> None:
    world = World(USERS[:2], lambda _, now: REFUSED if now < over else None)
    await world.run(over, step=20.0)
    await world.run(SPELL_MOST_SECONDS + 40, step=20.0)

    assert not world.out


async def test_a_wrong_key_makes_nobody_else_wait() -> None:
    world = World(USERS, lambda user, _: REFUSED if user == USERS[0] else None)
    await world.run(1)
    assert world.out == USERS[:1]
    for _ in range(470):  # until a moment before the sixth try, the pauses between as short as they may come
        world.out.append(USERS[1])  # whose connection broke
        await world.run(7, step=7.0)
        assert USERS[1] not in world.out

    assert world.worst < MOST_REFUSALS
    assert len(world.failed) == 5


@pytest.mark.parametrize("wrong", [2, 3, 5, 19])
async def test_some_wrong_keys_never_have_us_banned_and_others_come_in(wrong: int) -> None:
    world = World(USERS, lambda user, _: REFUSED if user in USERS[:wrong] else None)
    world.out = [*USERS[:wrong], USERS[-1]]  # which comes last
    await world.run(wrong * SPELL_MOST_SECONDS, step=10.0)
    for _ in range(20):
        assert USERS[-1] not in world.out
        world.out = [*USERS[:wrong], USERS[-1]]
        await world.run(SPELL_MOST_SECONDS + 20, step=10.0)

    assert world.worst <= MOST_REFUSALS


async def test_few_try_at_once_and_one_where_the_node_refuses() -> None:
    at_once = most = 0

    async def attempt(user: str, error: PasserelleError | None) -> None:
        nonlocal at_once, most
        async with world.node.login("login", user, user):
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0.01)
            at_once -= 1
            if error is not None:
                raise error

    world = World([], lambda *_: None)
    await asyncio.gather(*(attempt(user, None) for user in USERS))
    assert most == MOST_REFUSALS
    for user in USERS[:2]:
        with pytest.raises(Unauthorized):
            await attempt(user, REFUSED)
    world.now += WINDOW_SECONDS
    most = 0
    await asyncio.gather(*(attempt(user, None) for user in USERS[2:]), return_exceptions=True)
    assert most > 1, "once one got in"
    for user in USERS[:2]:
        with pytest.raises(Unauthorized):
            await attempt(user, REFUSED)
    world.now += WINDOW_SECONDS
    most = 0
    done = await asyncio.gather(*(attempt(user, REFUSED) for user in USERS[2:]), return_exceptions=True)
    assert most == 1
    assert sum(isinstance(each, Unauthorized) for each in done) == 1


async def test_who_waits_in_line_does_so_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(user: str) -> None:
        async with node.login("login", user, user):
            await asyncio.sleep(3600)

    monkeypatch.setattr(nodes, "IN_LINE_SECONDS", 0.05)
    node = Node("login:22")
    hanging = [asyncio.create_task(hang(user)) for user in USERS[:MOST_REFUSALS]]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="Other logins to login:22 are under way") as caught:
        await hang("ada")
    assert not caught.value.sent
    for each in hanging:
        each.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)

    async with node.login("login", "a", "ada"):
        pass


async def test_a_user_whose_secret_is_corrected_is_tried_at_once() -> None:
    world = World([], lambda *_: None)
    for number in range(MOST_REFUSALS - 1):
        with pytest.raises(Unauthorized):
            async with world.node.login("login", f"key {number}", "ada"):
                raise REFUSED

    async with world.node.login("login", "the right one", "ada"):
        pass


async def test_a_host_that_takes_no_connection_has_refused_nobody() -> None:
    world = World(USERS, lambda _, now: DOWN if now < 300 else None)
    await world.run(700)

    assert not world.out


async def test_what_is_held_back_says_why_and_was_not_sent() -> None:
    world = World(USERS[:5], lambda *_: REFUSED)
    await world.run(130)
    with pytest.raises(Unauthorized):
        async with world.node.login("login", USERS[0], USERS[0]):
            pass
    with pytest.raises(Unavailable, match="login:22 refuses logins") as caught:
        async with world.node.login("login", "another", "another"):
            pass

    assert (caught.value.sent, caught.value.reason) == (False, "Unreachable")
    assert caught.value.retry_after


async def test_credentials_that_are_renewed_every_day_are_forgotten() -> None:
    world = World([], lambda *_: None)
    for day in range(1000):
        for user in USERS[:2]:
            async with world.node.login("login", f"{user} of {day}", user):
                pass
        world.now += 86_400

    assert len(world.node._own) <= 100


@pytest.fixture
async def site() -> AsyncIterator[LoginNode]:
    async with login_node.running() as running:
        yield running


async def tried(door: Ssh) -> PasserelleError | None:
    try:
        await door.probe()
    except PasserelleError as error:
        return error
    finally:
        await door.close()
    return None


async def test_an_edited_site_does_not_show_its_key_again(site: LoginNode) -> None:
    among = Nodes()
    stranger = site.credential(private_key=STRANGERS_KEY.export_private_key("openssh").decode())
    first = site.door(stranger, nodes=among)
    assert (await tried(first)) is not None
    for _ in range(3):
        error = await tried(site.door(stranger, nodes=among))
        assert isinstance(error, Unauthorized)
        assert error.reason == "LoginRefused"

    assert (site.connections, site.refused) == (1, 1)


@pytest.mark.parametrize("cuts", [False, True])
async def test_many_sites_that_lead_to_one_node_in_a_maintenance(site: LoginNode, cuts: bool) -> None:
    site.cuts = cuts
    site.trusted.clear()
    among = Nodes()
    doors = [site.door(site.credential(user=user), nodes=among) for user in USERS]
    assert None not in await asyncio.gather(*(tried(door) for door in doors))

    assert site.connections == MOST_REFUSALS


def test_sites_share_the_first_host_on_their_way() -> None:
    def opened(url: str, jump: str | None = None) -> Ssh:
        gateway = {"driver": "ssh", "url": url, "jump": jump, "credentials": {"name": "a"}}
        spec = SiteSpec.model_validate({"profile": "lumi-g", "runRoot": "/scratch", "gateway": gateway})
        made = open_gateway(spec, lambda: pytest.fail("a credential was asked for"), Trust())
        assert isinstance(made, Ssh)
        return made

    one, same = opened("ssh://login.example.eu"), opened("ssh://LOGIN.example.eu:22")
    other, way = opened("ssh://login.example.eu:2222"), opened("ssh://inner.example.eu", "ssh://login.example.eu")

    assert one._connection._node is one._bulk._node is same._connection._node is way._connection._node
    assert other._connection._node is not one._connection._node
