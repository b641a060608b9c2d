import sys
from pathlib import Path

import pytest

from passerelle_sandbox import python_environment


def test_a_python_that_is_too_old_is_one_sentence_with_the_way_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))

    assert python_environment.main([str(tmp_path / "venv")]) == 1

    assert capsys.readouterr().err == (
        "passerelle-sandbox: python3 is 3.9, and Python >= 3.11 is needed: `make PYTHON=python3.12` takes another.\n"
    )
