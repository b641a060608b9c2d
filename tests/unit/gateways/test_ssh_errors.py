"""What Slurm's commands of three releases said when they failed, and whose turn it is."""

from __future__ import annotations

import pytest

from passerelle.errors import PasserelleError, Rejected, Unavailable
from passerelle.gateways.sbatch_words import TEXTS
from passerelle.gateways.slurmrestd.errors import POLICIES, REFUSALS
from passerelle.gateways.ssh import errors
from passerelle.gateways.ssh.commands import INCOMPLETE, NOT_FOUND
from passerelle.gateways.ssh.errors import Answer
from unit.gateways.test_ssh_decode import RECORDINGS, RELEASES

REASONS = {
    "partition": "InvalidPartition",
    "account": "InvalidAccount",
    "qos": "InvalidQos",
    "nodes": "TooManyCpus",
    "gpus": "NodeConfigurationUnavailable",
    "memory": "NodeConfigurationUnavailable",
    "time": "InvalidTimeLimit",
    "reservation": "InvalidReservation",
    "constraint": "InvalidFeature",
    "exclude": "InvalidNodeName",
}


def said(stderr: str, status: int | None = 1) -> Answer:
    return Answer(status, "", stderr)


def failed(words: str, status: int | None = 1) -> PasserelleError:
    return errors.refusal(said(f"sbatch: error: Batch job submission failed: {words}\n", status))


@RELEASES
@pytest.mark.parametrize("what", REASONS)
def test_a_refusal_has_the_reason_that_it_has_at_every_door(release: str, what: str) -> None:
    error = errors.refusal(Answer(**RECORDINGS[release]["refused"][what]))

    assert isinstance(error, Rejected)
    assert (error.reason, error.transient) == (REASONS[what], False)
    assert "sbatch" not in error.message
    assert "Batch job submission failed" not in error.message


def test_every_text_has_a_number_with_a_reason() -> None:
    assert set(TEXTS.values()) <= set(REFUSALS | POLICIES)


@pytest.mark.parametrize(
    "words, reason",
    [
        ("Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)", "PolicyLimit"),
        ("Unable to create job record, try again", "TooManyJobs"),
    ],
)
def test_a_limit_of_the_moment_may_pass_later(words: str, reason: str) -> None:
    error = failed(words)

    assert isinstance(error, Rejected)
    assert (error.reason, error.transient) == (reason, True)


@pytest.mark.parametrize(
    "last, sent",
    [
        ("Socket timed out on send/recv operation", True),
        ("Unable to contact slurm controller (receive failure)", True),
        ("Unable to contact slurm controller (connect failure)", False),
    ],
)
def test_only_the_last_word_counts_of_a_submit_that_was_tried_again(last: str, sent: bool) -> None:
    full = "sbatch: error: Slurm job queue full, sleeping and retrying\n"
    error = errors.refusal(said(f"{full}sbatch: error: Batch job submission failed: {last}\n"))

    assert isinstance(error, Unavailable)
    assert error.sent == sent


def test_a_login_shells_own_complaint_is_no_word_of_sbatch() -> None:
    error = errors.refusal(said("bash: shopt: -x: invalid option\nsbatch: error: Slurm temporarily unable\n"))

    assert isinstance(error, Unavailable)
    assert error.sent


def test_a_submit_that_was_ended_while_the_queue_was_full_is_unknown() -> None:
    error = errors.refusal(said("sbatch: error: Slurm job queue full, sleeping and retrying\n", 124))

    assert isinstance(error, Unavailable)
    assert error.sent


@pytest.mark.parametrize(
    "words, reason",
    [
        ("sbatch: error: Batch script contains DOS line breaks (\\r\\n)\n", "ScriptMissing"),
        ("sbatch: unrecognized option '--nowhere'\nTry \"sbatch --help\" for more information\n", "NotUnderstood"),
    ],
)
def test_what_sbatch_itself_does_not_take_is_a_refusal(words: str, reason: str) -> None:
    error = errors.refusal(said(words))

    assert isinstance(error, Rejected)
    assert (error.reason, error.transient) == (reason, False)


@RELEASES
def test_only_a_controller_that_was_not_reached_got_nothing(release: str) -> None:
    frozen, dead = (errors.refusal(Answer(**RECORDINGS[release][kind]["submit"])) for kind in ("frozen", "dead"))

    assert isinstance(frozen, Unavailable)
    assert isinstance(dead, Unavailable)
    assert (frozen.sent, dead.sent) == (True, False)


@pytest.mark.parametrize(
    "words, status",
    [
        ("Unable to contact slurm controller (send failure)", 1),
        ("Unable to contact slurm controller (receive failure)", 1),
        ("Unable to contact slurm controller (connect failure)", 124),
        ("Unable to contact slurm controller (connect failure)", None),
        ("Zero Bytes were transmitted or received", 1),
        ("Protocol authentication error", 1),
        ("Something that nobody knows", 1),
        ("Invalid qos specification", 137),
        ("Invalid qos specification", None),
        ("", 0),
    ],
)
def test_what_no_table_names_or_did_not_end_is_unknown(words: str, status: int | None) -> None:
    error = failed(words, status)

    assert isinstance(error, Unavailable)
    assert error.sent


@pytest.mark.parametrize("status, reason", [(INCOMPLETE, "Unreachable"), (NOT_FOUND, "SlurmMissing")])
def test_where_sbatch_was_not_started_nothing_was_sent(status: int, reason: str) -> None:
    error = errors.refusal(said("env: 'sbatch': No such file or directory", status))

    assert isinstance(error, Unavailable)
    assert (error.reason, error.sent) == (reason, False)


def test_a_rule_of_the_site_is_a_refusal_with_its_words() -> None:
    error = errors.refusal(
        said("sbatch: error: use --account\nsbatch: error: Batch job submission failed: Unspecified error\n")
    )

    assert isinstance(error, Rejected)
    assert error.reason == "RefusedBySite"
    assert error.message == "The site refused the job by a rule of its own: use --account; Unspecified error."


@RELEASES
@pytest.mark.parametrize("kind", ["frozen", "dead"])
@pytest.mark.parametrize("command", ["who", "states", "live"])
def test_a_read_without_slurmctld_is_no_empty_answer(release: str, kind: str, command: str) -> None:
    answer = Answer(**RECORDINGS[release][kind][command])

    assert answer.status != 0
    assert errors.failure(answer).reason == "SchedulerUnavailable"


@RELEASES
def test_accounting_without_slurmdbd(release: str) -> None:
    answer = Answer(**RECORDINGS[release]["accounting without slurmdbd"])

    assert answer.status != 0
    assert errors.accounting_failure(answer).reason == "AccountingUnavailable"


@RELEASES
def test_a_cancel_of_what_is_gone_is_no_error(release: str) -> None:
    assert RECORDINGS[release]["cancel of unknown id"]["status"] == 0
    assert RECORDINGS[release]["cancel of ended job"]["status"] == 0
    assert errors.job_is_gone(Answer(**RECORDINGS[release]["live of unknown id"]))
    assert not errors.job_is_gone(Answer(**RECORDINGS[release]["dead"]["cancel"]))
    assert not errors.job_is_gone(Answer(**RECORDINGS[release]["frozen"]["cancel"]))


def test_words_are_one_short_line() -> None:
    assert len(errors.words(said("sbatch: error: " + "x" * 10_000))) <= 500
    assert errors.words(said("", 3)) == "exit code 3"
    assert errors.words(said("a\n\nb.\na\n")) == "a; b"
