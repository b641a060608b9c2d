"""The relay's eyes and its judgement; its work in a job is in test_batch.py."""

import json
from pathlib import Path

import pytest

from passerelle.onsite import relay
from passerelle.onsite.epilogue import conclude, first_failure


def test_lines_are_read_once_and_only_when_whole(tmp_path: Path) -> None:
    file = tmp_path / "progress.jsonl"
    tail = relay.Tail(str(file))
    assert tail.lines() == []

    with file.open("ab") as pen:
        pen.write(b'{"step": 1}\n{"st')
        pen.flush()
        assert tail.lines() == ['{"step": 1}']
        pen.write('ep": 2}\né\xff\n'.encode("latin-1"))
        pen.flush()
        assert tail.lines() == ['{"step": 2}', "\ufffd\ufffd"]

    assert tail.lines() == []


def test_a_line_without_end_costs_no_memory_and_hides_no_later_line(tmp_path: Path) -> None:
    file = tmp_path / "progress.jsonl"
    tail = relay.Tail(str(file))
    file.write_bytes(b"x" * 5_000_000)
    assert tail.lines() == []
    assert len(tail._rest) <= 70_000

    with file.open("ab") as pen:
        pen.write(b'\n{"step": 2}\n')

    assert tail.lines() == ['{"step": 2}']


@pytest.mark.parametrize(
    "why,passing",
    [
        ("slurm_update error: Unable to contact slurm controller (connect failure)", True),
        ("slurm_update error: Socket timed out on send/recv operation", True),
        ("scontrol did not answer within 20 s", True),
        ("Access/permission denied for job 5", False),
        ("[Errno 2] No such file or directory: 'scontrol'", False),
    ],
)
def test_what_passes_is_tried_again_and_a_refusal_is_not(why: str, passing: bool) -> None:
    assert relay.passing(why) is passing


def end(folder: Path, name: str, **facts: object) -> None:
    told = {"rank": 0, "code": 1, "signal": None, "time": 10.0, "err": "", "node": "n1"} | facts
    (folder / f"{name}.json").write_text(json.dumps(told))


def test_the_earliest_end_that_was_nobody_elses_doing_is_the_reason(tmp_path: Path) -> None:
    end(tmp_path, "agent-0", rank=None, time=1.0)
    end(tmp_path, "rank-0", rank=0, code=143, signal=15, time=2.0)
    end(tmp_path, "rank-1", rank=1, code=3, time=4.0)
    end(tmp_path, "rank-2", rank=2, code=139, signal=11, time=3.0)
    (tmp_path / "rank-3.json").write_text("{")

    found = first_failure(str(tmp_path))

    assert found is not None
    assert found["rank"] == 2


def test_where_all_were_killed_the_first_counts(tmp_path: Path) -> None:
    end(tmp_path, "rank-0", rank=0, code=137, signal=9, time=2.0)
    end(tmp_path, "rank-1", rank=1, code=137, signal=9, time=1.0)

    assert conclude(str(tmp_path), 137)["rank"] == 1


def test_without_a_word_of_a_rank_sruns_code_counts(tmp_path: Path) -> None:
    told = conclude(str(tmp_path), 137)

    assert (told["code"], told["signal"], told["rank"]) == (137, 9, None)
