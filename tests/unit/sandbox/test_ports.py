import socket

from passerelle_sandbox import ports


def test_free_ports_differ_and_can_be_listened_on_together() -> None:
    found = ports.free(8)

    assert len(set(found)) == 8
    for port in found:
        assert ports.FIRST <= port < ports.LAST
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", port))
            listener.listen()
