"""Every profile by every launcher by one GPU, one node, four nodes and the largest job: what varies, one file for each.

`PASSERELLE_RECORD=1 pytest tests/golden` writes the files anew; read the difference before it is committed.
"""

from pathlib import Path

import pytest

from golden.written import agrees, differing
from passerelle.launch import LAUNCHERS
from passerelle.profiles import load, names
from twins.cases import SIZES, product

HERE = Path(__file__).parent / "profiles"
ACCOUNT = "project1"


@pytest.mark.parametrize("name", names())
def test_a_profiles_jobs_are_rendered_as_recorded(name: str) -> None:
    cases = product(load(name), ACCOUNT)
    files = {
        launcher: differing({case.size: case.batch for case in cases if case.launcher == launcher})
        for launcher in LAUNCHERS
    }

    assert len(cases) == len(LAUNCHERS) * len(SIZES)
    assert [launcher for launcher, text in files.items() if not agrees(HERE / name / f"{launcher}.yaml", text)] == []


def test_nothing_is_recorded_that_is_no_longer_made() -> None:
    recorded = {str(file.relative_to(HERE).with_suffix("")) for file in HERE.glob("*/*.yaml")}

    assert recorded == {f"{name}/{launcher}" for name in names() for launcher in LAUNCHERS}
