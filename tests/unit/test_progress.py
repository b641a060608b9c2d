"""The comment's record, from the relay's pen to the status."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passerelle.onsite.report import ERR_BYTES, LIMIT_BYTES, Progress
from passerelle.progress import Report, decimal, newest, parse_comment
from passerelle.v1alpha1.trainingjob_status import Exit, Metric

NOW = 1_800_000_000.5


def told(*lines: object) -> Progress:
    progress = Progress()
    for line in lines:
        assert progress.take(line if isinstance(line, str) else json.dumps(line))
    return progress


def test_what_the_trainer_told_arrives() -> None:
    record = told(
        {"step": 5, "totalSteps": 20, "etaSeconds": 9.7, "loss": 0.123456789, "lr": 1e-05, "note": "x"}
    ).record(NOW)

    report = parse_comment(record)

    assert report.progress is not None
    assert (report.progress.step, report.progress.total_steps, report.progress.percentage) == (5, 20, 25)
    assert report.progress.eta_seconds == 9
    assert report.progress.metrics == [Metric(name="loss", value="0.123457"), Metric(name="lr", value="1e-05")]
    assert report.progress.updated_at == "2027-01-15T08:00:00Z"
    assert report.exit is None


def test_a_later_line_need_not_repeat_an_earlier_one() -> None:
    report = parse_comment(told({"step": 1, "totalSteps": 4, "loss": 2}, {"step": 3}).record(NOW))

    assert report.progress is not None
    assert (report.progress.step, report.progress.total_steps) == (3, 4)
    assert report.progress.metrics == [Metric(name="loss", value="2")]


def test_the_end_stands_beside_the_last_progress() -> None:
    end = {"code": 139, "signal": 11, "rank": 3, "err": 'Trace "x"\n\x1b[31mKeyError: é\n', "node": "n1"}

    report = parse_comment(told({"step": 7}).record(NOW, end))

    assert report.exit == Exit(code=139, signal=11, rank=3)
    assert report.stderr == 'Trace "x"\n[31mKeyError: é'
    assert report.progress is not None
    assert report.progress.step == 7


def test_the_steps_of_an_attempt_arrive_and_the_nodes_that_failed_it() -> None:
    end = {"code": 214, "signal": None, "rank": None, "err": "", "nodes": ["n2", "n5"]}

    report = parse_comment(told({"step": 41}, {"step": 60, "checkpointStep": 50}, {"step": 61}).record(NOW, end))

    assert report.progress is not None
    assert (report.first_step, report.progress.step, report.progress.checkpoint_step) == (41, 61, 50)
    assert report.nodes == ("n2", "n5")


@pytest.mark.parametrize("nodes", ['"n2"', "[3]", '["a,b"]', '["-x"]', '["n1 n2"]', '["x[1-9]"]', "null"])
def test_what_is_no_nodes_name_is_excluded_from_nothing(nodes: str) -> None:
    assert parse_comment(f'{{"v":1,"end":{{"code":214,"nodes":{nodes}}}}}').nodes == ()


def test_the_longest_record_of_a_bad_node_still_fits() -> None:
    lines = dict.fromkeys(("step", "checkpointStep", "totalSteps", "percentage", "etaSeconds"), 2**53)
    end = {"code": 214, "signal": None, "rank": 2**31, "err": "x" * 5000, "nodes": ["n" * 100] * 9}

    record = told(lines | {f"metric{number}": number / 7 for number in range(8)}).record(NOW, end)

    assert len(record.encode()) <= LIMIT_BYTES
    assert parse_comment(record).nodes == ("n" * 64,) * 4


def test_the_first_record_says_only_that_somebody_speaks() -> None:
    assert parse_comment(Progress().record(NOW)) == Report(heard=True, told_at=int(NOW))


def test_the_error_is_worth_more_than_the_last_metrics() -> None:
    progress = told({"step": 1} | {f"a_rather_long_name_of_a_metric_{number}": number / 7 for number in range(8)})

    record = progress.record(NOW, {"code": 1, "signal": None, "rank": 0, "err": "x" * 5000})

    assert len(record.encode()) <= LIMIT_BYTES
    report = parse_comment(record)
    assert report.stderr == "x" * ERR_BYTES
    assert report.progress is not None
    assert report.progress.step == 1


@given(
    st.lists(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.floats() | st.text())),
    st.text(max_size=3000),
)
def test_no_record_is_too_long_or_unreadable(lines: list[dict[str, object]], err: str) -> None:
    progress = told(*lines)

    record = progress.record(NOW, {"code": 1, "signal": None, "rank": 2, "err": err})

    assert len(record.encode()) <= LIMIT_BYTES
    report = parse_comment(record)
    assert report.exit == Exit(code=1, rank=2)
    assert len(report.stderr.encode()) <= ERR_BYTES
    assert all(ord(character) >= 32 or character in "\n\t" for character in report.stderr)


@pytest.mark.parametrize(
    "line", ["", "{", "[1]", '"x"', "nothing", '{"step": 1}{"step": 2}', "[" * 60_000, '{"a":' * 10_000]
)
def test_a_line_that_is_no_object_is_passed_over(line: str) -> None:
    assert not Progress().take(line)


@given(st.text())
def test_any_text_is_a_comment(text: str) -> None:
    assert parse_comment(text) == Report() or json.loads(text)["v"] == 1


@given(
    st.dictionaries(
        st.sampled_from(["t", "s", "n", "p", "e", "m", "end"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: (
                st.lists(inner) | st.dictionaries(st.sampled_from(["code", "signal", "rank", "err", "loss"]), inner)
            ),
        ),
    )
)
def test_any_record_of_ours_is_read_without_an_error(fields: dict[str, object]) -> None:
    report = parse_comment(json.dumps({"v": 1, **fields}))

    assert report.heard


@pytest.mark.parametrize(
    "value, expected",
    [
        (1, "1"),
        (0.5, "0.5"),
        (2.0, "2"),
        (1e-12, "1e-12"),
        (-3.25, "-3.25"),
        (True, None),
        (float("nan"), None),
        (float("inf"), None),
        ("1", None),
        (10**400, None),
        (10**20, "1e+20"),
    ],
)
def test_numbers_are_written_as_decimals(value: object, expected: str | None) -> None:
    assert decimal(value) == expected


@pytest.mark.parametrize("name", ["\\ud800", "", "a b", "1a", "a\\n", "é", "a" * 65, "\\u0000"])
def test_a_name_that_the_relay_would_not_pass_is_no_metric(name: str) -> None:
    report = parse_comment(f'{{"v":1,"s":5,"m":{{"{name}":1,"loss":2}}}}')

    assert report.progress is not None
    assert (report.progress.step, report.progress.metrics) == (5, [Metric(name="loss", value="2")])


def test_a_defect_in_reading_a_record_is_logged_and_goes_no_further(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: object) -> None:
        raise KeyError("s")

    monkeypatch.setattr("passerelle.progress._progress", broken)

    assert parse_comment('{"v":1,"s":5}') == Report()
    assert "a job's record can't be read" in caplog.text


@pytest.mark.parametrize(
    "one, other, expected",
    [
        ('{"v":1,"t":5}', '{"v":1,"t":6}', 1),
        ('{"v":1,"t":6}', '{"v":1,"t":5}', 0),
        ('{"v":1,"t":6,"s":1}', '{"v":1,"t":6,"s":2}', 0),
        ('{"v":1,"s":1}', '{"v":1,"t":6}', 1),
        ("of a site's plugin", '{"v":1,"t":6}', 1),
        ('{"v":1,"t":6}', "of a site's plugin", 0),
        ("of a site's plugin", "", 0),
        ("", "of a site's plugin", 1),
    ],
)
def test_of_two_comments_the_one_told_later_counts(one: str, other: str, expected: int) -> None:
    assert newest(one, other) == (one, other)[expected]
