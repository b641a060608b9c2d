from __future__ import annotations

import pytest

from passerelle.gateways.sbatch_words import TEXTS, refusal
from passerelle.gateways.slurmrestd.errors import POLICIES, REFUSALS

FAILED = "sbatch: error: Batch job submission failed: "


def test_every_text_leads_to_a_number_that_slurmrestd_refuses_by() -> None:
    assert set(TEXTS.values()) <= REFUSALS.keys() | POLICIES.keys()


@pytest.mark.parametrize("text, number", TEXTS.items())
def test_reason_is_the_same_as_slurmrestds(text: str, number: int) -> None:
    found = refusal(f"{FAILED}{text}\n")

    assert found is not None
    assert found.reason == (REFUSALS.get(number) or POLICIES[number])
    assert found.transient is (number in POLICIES)
    assert text in found.message


@pytest.mark.parametrize(
    "said",
    [
        f"{FAILED}Unable to contact slurm controller (connect failure)",
        f"{FAILED}Socket timed out on send/recv operation",
        f"{FAILED}Zero Bytes were transmitted or received",
        f"{FAILED}Unspecified error",
        "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying",
        "Invalid partition name specified",
        "",
    ],
)
def test_what_may_have_been_taken_is_no_refusal(said: str) -> None:
    assert refusal(said) is None


def test_what_sbatch_said_before_is_told() -> None:
    hint = "sbatch: error: CPU count per node can not be satisfied\n"
    found = refusal(f"{hint}{FAILED}Requested node configuration is not available\n")

    assert found is not None
    assert found.message == (
        "Slurm refused the job: Requested node configuration is not available; CPU count per node can not be satisfied."
    )


def test_option_that_sbatch_does_not_know_is_a_refusal() -> None:
    found = refusal("sbatch: unrecognized option '--nonsense'\nTry \"sbatch --help\" for more information\n")

    assert found is not None
    assert (found.reason, found.transient) == ("NotUnderstood", False)
