"""The #SBATCH lines of a script, as sbatch reads them."""

import pytest

from passerelle.directives import Directive, directives, without


def pairs(text: str) -> list[tuple[str, str | None]]:
    return [(each.name, each.value) for each in directives(text)]


@pytest.mark.parametrize(
    "line, expected",
    [
        ("#SBATCH --nodes=4", [("nodes", "4")]),
        ("#SBATCH --nodes 4", [("nodes", "4")]),
        ("#SBATCH\t-N 4", [("nodes", "4")]),
        ("#SBATCH -N4 -n8", [("nodes", "4"), ("ntasks", "8")]),
        ("#SBATCH -J 'two words' # a comment", [("job-name", "two words")]),
        ('#SBATCH --comment="a # b"', [("comment", "a # b")]),
        ("#SBATCH --exclusive --nodes=2", [("exclusive", None), ("nodes", "2")]),
        ("#SBATCH --exclusive=user", [("exclusive", "user")]),
        ("#SBATCH --requeue", [("requeue", None)]),
        ("#SBATCH hetjob", [("hetjob", None)]),
        ("#SBATCH --job-name=it's", [("job-name", "it's")]),
        ("#SBATCH", []),
        ("#SBATCHX --nodes=4", []),
        ("##SBATCH --nodes=4", []),
        (" #SBATCH --nodes=4", []),
    ],
)
def test_a_line_is_read(line: str, expected: list[tuple[str, str | None]]) -> None:
    assert pairs(f"#!/bin/bash\n{line}\ntrue\n") == expected


def test_reading_ends_at_the_first_command_and_lines_are_counted() -> None:
    text = "#!/bin/bash\n\n# why\n#SBATCH -N 1\n\n#SBATCH -n 2\nset -e\n#SBATCH -N 3\n"

    assert directives(text) == [Directive("nodes", "1", 4), Directive("ntasks", "2", 6)]
    assert without(text) == "#!/bin/bash\n\n# why\n\nset -e\n#SBATCH -N 3\n"
