import re
from pathlib import Path

import pytest

from passerelle_sandbox import say
from passerelle_sandbox.errors import SandboxError


def test_a_step_says_that_it_begins_and_how_long_it_took(capsys: pytest.CaptureFixture[str]) -> None:
    with say.step("counting"):
        pass

    assert re.fullmatch(r"counting \.\.\.\ncounting: done in \d+\.\d s\n", capsys.readouterr().out)


def test_a_long_step_says_that_it_is_alive(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(say, "HEARTBEAT", 0.0)

    say.run_step("counting", ["sh", "-c", "echo one; sleep 1; echo two"], log=tmp_path / "log")

    assert re.search(r"^counting: [01] s so far: one$", capsys.readouterr().out, re.MULTILINE)


def test_a_command_keeps_its_output_in_the_log_and_gets_what_it_is_given(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    log = tmp_path / "logs" / "log"

    argv = ["sh", "-c", 'cat; echo "$WORD in $(pwd)"']
    say.run_step("talking", argv, log=log, cwd=tmp_path, env={"WORD": "hi"}, stdin="input\n")

    assert log.read_text() == f"input\nhi in {tmp_path}\n"
    assert "hi" not in capsys.readouterr().out


def test_a_failing_command_shows_its_end_alone_and_raises_one_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    log.write_text("of an earlier run\n")

    with pytest.raises(SandboxError, match=r"^building: sh ended with exit code 3; all it said is in .*/log\.$"):
        say.run_step("building", ["sh", "-c", "seq 100; printf '\\033[31mred\\033[0m\\n' >&2; exit 3"], log=log)

    out = capsys.readouterr().out.splitlines()
    assert [each for each in out if each.startswith("  | ")] == [f"  | {n}" for n in [*range(82, 101), "red"]]
    assert re.fullmatch(r"building: failed after \d+\.\d s", out[-1])


def test_a_missing_command_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match=r"^looking: no-such-command can't be run: No such file or directory\.$"):
        say.run_step("looking", ["no-such-command"], log=tmp_path / "log")
