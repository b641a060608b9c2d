"""`passerelle sites`: what a person or a pipe reads."""

import re

import pytest
from typer.testing import CliRunner, Result

from passerelle.cli.sites import app
from passerelle.errors import Invalid
from passerelle.profiles import load, names


def said(*words: str) -> list[str]:
    result: Result = CliRunner().invoke(app, list(words))
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def test_list_has_a_line_for_each_profile() -> None:
    head, *lines = said("list")

    assert head.split()[:3] == ["PROFILE", "GPUS", "VENDOR"]
    assert [line.split()[0] for line in lines] == names()
    assert lines[names().index("lumi-g")].split() == (
        "lumi-g 8 x 64 GB amd x86_64 48h yes firecrest, ssh".split()  # noqa: SIM905 -- as it is printed
    )


def test_list_names_the_drivers_that_reach_a_machine_and_no_other_way() -> None:
    """Leonardo signs keys for hours; JUPITER, Vega and Arrhenius ask a person each time."""
    told = {line.split()[0]: re.split(r"  +", line)[-1] for line in said("list")[1:]}

    assert {name: told[name] for name in told if not name.startswith("sandbox")} == {
        "alps-clariden": "firecrest, ssh",
        "alps-daint": "firecrest, ssh",
        "arrhenius-gpu": "-",
        "deucalion-gpu": "ssh",
        "discoverer-plus": "ssh",
        "juwels-booster": "unicore",
        "jupiter-booster": "unicore",
        "karolina-gpu": "ssh",
        "leonardo-booster": "ssh",
        "lumi-g": "firecrest, ssh",
        "marenostrum5-acc": "ssh",
        "meluxina-gpu": "slurmrestd, ssh",
        "vega-gpu": "arc",
    }


def test_what_nobody_knows_is_called_unknown() -> None:
    line = next(each for each in said("list") if each.startswith("vega-gpu"))

    assert line.split()[-3:] == ["unknown", "unknown", "arc"]


def test_a_qos_that_is_taken_by_itself_tells_the_longest_job() -> None:
    line = next(each for each in said("list") if each.startswith("marenostrum5-acc"))

    assert "72h" in line.split()


def test_a_pipe_gets_no_escape_and_no_trailing_blank() -> None:
    lines = [line for words in (("list",), ("show", "lumi-g"), ("diff", "lumi-g", "vega-gpu")) for line in said(*words)]

    assert not [line for line in lines if "\x1b" in line or line != line.rstrip()]


@pytest.mark.parametrize("name", names())
def test_show_says_of_every_group_how_sure_it_is(name: str) -> None:
    lines = said("show", name)

    headings = [line for line in lines if line and not line.startswith(" ")]
    groups = list(load(name).groups())
    assert len(headings) == 1 + len(groups) + 1
    for heading, (_, group) in zip(headings[1:-1], groups, strict=True):
        assert heading.endswith(f"({group.confidence}: {', '.join(group.source)})")
    assert headings[-1] == "sources"


def test_show_writes_amounts_with_their_units() -> None:
    facts = {" ".join(line.split()) for line in said("show", "leonardo-booster")}

    assert {"max time 24h", "memory 494000Mi", "memory 64 GB", "purge 40 days", "certificate 12 h"} <= facts
    assert {"whole nodes no", "compute no", "max nodes 64", "per gpu hour 8", "count 3456"} <= facts


def test_diff_shows_what_differs_and_nothing_else() -> None:
    head, *lines = said("diff", "alps-clariden", "alps-daint")

    assert head.split() == ["FACT", "alps-clariden", "alps-daint"]
    assert "default partition: max time 12h 24h".split() in [line.split() for line in lines]  # noqa: SIM905
    assert not [line for line in lines if "cpus per gpu" in line]
    assert said("diff", "lumi-g", "lumi-g") == ["Nothing differs."]


def test_default_partitions_are_compared_whatever_their_names() -> None:
    lines = [line.split() for line in said("diff", "leonardo-booster", "marenostrum5-acc")]

    assert ["default", "partition:", "name", "boost_usr_prod", "acc"] in lines
    assert ["default", "partition:", "cpus", "per", "gpu", "8", "20"] in lines


@pytest.mark.parametrize("words", [("show", "atlantis"), ("diff", "lumi-g", "atlantis")])
def test_an_unknown_profile_is_refused_with_those_known(words: tuple[str, ...]) -> None:
    with pytest.raises(Invalid, match=r"no profile 'atlantis'.* vega-gpu"):
        CliRunner().invoke(app, list(words), catch_exceptions=False)
