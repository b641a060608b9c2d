"""What is drawn for a change is drawn from the commit, and over time everything is; what a stage prints is short."""

import tempfile

import pytest

from passerelle_sandbox import say
from stages import DRAWN_ROWS, EVERY_SERVER, PROGRESS, Stage, contract_rows, run
from tree import drawn


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


@pytest.mark.parametrize("last,beside", [(0, 3), (3, 0)])
def test_of_two_commands_beside_each_other_both_end_and_both_count(
    capsys: pytest.CaptureFixture[str], last: int, beside: int
) -> None:
    """Either waits for the other's word: one after the other would never end well."""
    meet = 'mkfifo "$1" 2>/dev/null; echo "$2 came"; '
    with tempfile.TemporaryDirectory() as place:
        fifo = f"{place}/fifo"
        reads = ("/bin/sh", "-c", f'{meet} timeout 20 cat "$1" || exit 9; exit {last}', "sh", fifo, "reader")
        writes = ("/bin/sh", "-c", f'{meet} timeout 20 sh -c "echo met >$1" || exit 9; exit {beside}', "sh", fifo, "w")

        assert not run(Stage("check", (reads,), beside=writes))

    told = capsys.readouterr().out.splitlines()
    assert {"met", "reader came", "w came"} <= set(told)


def test_what_a_stage_compiles_is_kept(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")

    assert run(Stage("check", (("/bin/sh", "-c", 'echo "kept: ${PYTHONDONTWRITEBYTECODE-yes}"'),)))

    assert "kept: yes" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    "line", ["...", "1 passed in 2 s", "tests/unit/test_say.py .. [ 47%]", "E   assert '..' [ 1%]"]
)
def test_what_is_no_line_of_dots_is_shown(line: str) -> None:
    assert PROGRESS.fullmatch(line) is None
