"""What is drawn for a change is drawn from the commit, and over time everything is; what a stage prints is short."""

import pytest

from passerelle_sandbox import say
from stages import DRAWN_ROWS, EVERY_SERVER, PROGRESS, Stage, contract_rows, drawn, run


def test_the_rows_that_every_server_proves_exist() -> None:
    assert set(EVERY_SERVER) < set(contract_rows())


def test_the_same_commit_draws_the_same_rows_and_many_commits_draw_them_all() -> None:
    rest = [row for row in contract_rows() if row not in EVERY_SERVER]

    assert drawn("a", rest, DRAWN_ROWS) == drawn("a", rest, DRAWN_ROWS)
    assert len(drawn("a", rest, DRAWN_ROWS)) == DRAWN_ROWS
    assert {row for commit in range(100) for row in drawn(str(commit), rest, DRAWN_ROWS)} == set(rest)


def printing(*lines: str, code: int = 0) -> tuple[str, ...]:
    """A command that prints lines, a while apart, and ends."""
    return ("/bin/sh", "-c", f'for line; do echo "$line"; sleep 0.6; done; exit {code}', "sh", *lines)


def test_dots_are_told_as_their_share_while_one_waits(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(say, "HEARTBEAT", 0.0)

    dots = "." * 65 + "F [ 47%]"

    assert run(Stage("check", (printing(dots, "2 failed"),)))

    told = capsys.readouterr().out
    assert "    sh: 1 s so far: 47%\n" in told
    assert "\n2 failed\n" in told
    assert dots not in told.splitlines()


def test_a_stage_ends_with_the_first_command_that_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert not run(Stage("check", (printing("wrong", code=3), printing("never"))))

    told = capsys.readouterr().out
    assert "wrong\n" in told
    assert "    sh: failed after" in told
    assert "never\n" not in told


@pytest.mark.parametrize(
    "line", ["...", "1 passed in 2 s", "tests/unit/test_say.py .. [ 47%]", "E   assert '..' [ 1%]"]
)
def test_what_is_no_line_of_dots_is_shown(line: str) -> None:
    assert PROGRESS.fullmatch(line) is None
