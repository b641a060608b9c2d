import socket
from pathlib import Path

import pytest
import time_machine

from passerelle_sandbox import cache, ports
from passerelle_sandbox.errors import SandboxError


def test_free_ports_differ_and_can_be_listened_on_together() -> None:
    found = ports.free(8)

    assert len(set(found)) == 8
    for port in found:
        assert ports.FIRST <= port < ports.LAST
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", port))
            listener.listen()


def test_a_port_is_given_to_nobody_else_while_its_asker_may_not_listen_yet(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(cache.ROOT, str(tmp_path))
    monkeypatch.setattr(ports, "LAST", ports.FIRST + 40)
    monkeypatch.setattr(ports, "_TRIES", 40)
    with time_machine.travel(0, tick=False) as clock:
        first, second = ports.free(12), ports.free(12)
        assert not set(first) & set(second)
        with pytest.raises(SandboxError, match="No 20 free ports"):
            ports.free(20)
        clock.shift(121)
        assert len(ports.free(20)) == 20


def test_a_book_that_was_cut_off_is_begun_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(cache.ROOT, str(tmp_path))
    ports.free(1)
    (book,) = (tmp_path / ".locks").glob("*.given")
    book.write_text('{"20000": 1', encoding="ascii")
    assert len(ports.free(3)) == 3
