"""What a person sees of a table that kubectl streams."""

from __future__ import annotations

import pytest

from passerelle_sandbox import tables
from passerelle_sandbox.errors import SandboxError

HEADER = "NAME    SITE      SUMMARY     REASON      PROGRESS   AGE"
NEW = "first   sandbox                                     {}"
QUEUED = "first   sandbox   Queued                             {}"
ENDED = "first   sandbox   Succeeded   Completed   100%       {}"


def kubectl(*rows: str) -> list[str]:
    """A command that prints some rows and goes on."""
    return ["sh", "-c", 'printf "%s\\n" "$@"; exec sleep 60', "sh", *rows]


def ended(row: str) -> bool:
    return "Succeeded" in row.split()


def test_a_row_that_says_nothing_new_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    rows = (HEADER, NEW.format("0s"), NEW.format("1s"), QUEUED.format("2s"), QUEUED.format("3s"), ENDED.format("3s"))

    tables.follow(kubectl(*rows, "later"), ended, "the end")

    assert capsys.readouterr().out.splitlines() == [
        HEADER,
        NEW.format("0s"),
        QUEUED.format("2s"),
        ENDED.format("3s"),
    ]


def test_a_table_in_which_nothing_happens_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "QUIET_SECONDS", 0.5)
    argv = ["sh", "-c", 'echo "$1"; sleep 1.5; echo "$2"; exec sleep 60', "sh", NEW.format("0s"), ENDED.format("2s")]

    tables.follow(argv, ended, "the end")

    assert "  ... no change for 1 s\n" in capsys.readouterr().out


def test_nobody_waits_for_a_kubectl_that_has_ended() -> None:
    with pytest.raises(SandboxError, match=r"^kubectl ended with 3 while one waited for the end\.$"):
        tables.follow(["sh", "-c", "exit 3"], ended, "the end")


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "PATIENCE_SECONDS", 0)

    with pytest.raises(SandboxError, match=r"^Waited 0 s for the end\.$"):
        tables.follow(kubectl(HEADER), ended, "the end")
