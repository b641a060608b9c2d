"""onsite/codes.py, and what sacct makes of a code."""

import pytest

from passerelle.gateways import sacct
from passerelle.onsite.codes import BAD_NODE, CONTINUE, RESERVED, public


@pytest.mark.parametrize("code", [0, 1, 3, 83, 89, 127, 137, BAD_NODE, CONTINUE])
def test_a_trainers_code_is_kept(code: int) -> None:
    assert public(code) == code


@pytest.mark.parametrize("code", RESERVED)
def test_what_is_the_batch_scripts_alone_is_no_trainers(code: int) -> None:
    assert public(code) == 1


@pytest.mark.parametrize("code", range(256))
def test_no_trainers_code_is_told_by_sacct_as_one_that_it_was_not(code: int) -> None:
    reported = public(code)
    told = sacct.whole(reported - 128 if reported >= 128 else reported)

    assert told == reported or told == reported - 128
    assert (told in sacct.OUR_CODES) == (reported in sacct.OUR_CODES)
