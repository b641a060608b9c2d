"""Shell text -> statements: what is understood, and what is left to its owner."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from passerelle.imports.shelltext import Unplain, spread, statements


def raws(text: str) -> list[list[str]]:
    return [[word.raw for word in each.words] for each in statements(text)]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a b\nc", [["a", "b"], ["c"]]),
        ("a; b && c || d &\nwait", [["a"], ["b"], ["c"], ["d"], ["wait"]]),
        ("a \\\n  b", [["a", "b"]]),
        ("a # b\n# c\nd", [["a"], ["d"]]),
        ("a 'b ; c' \"d && e\"", [["a", "'b ; c'", '"d && e"']]),
        ("a=$(b | c; d) e", [["a=$(b | c; d)", "e"]]),
        ("a > f 2>&1 < g", [["a"]]),
        ("a &> f", [["a"]]),
        ("a | tee f\nb", [["a"], ["b"]]),
        ("A=(1 2 3)\nb", [["A=(1 2 3)"], ["b"]]),
        ("a $((1 + 2))", [["a", "$((1 + 2))"]]),
        ("", []),
    ],
)
def test_plain_text_is_cut_into_words(text: str, expected: list[list[str]]) -> None:
    assert raws(text) == expected


@pytest.mark.parametrize(
    "text",
    ["if a; then b; fi", "for x in 1; do a; done", "f() { a; }", "(a; b)", "a << E\nb\nE", "a 'b", 'a "b', "a `b",
     "a $(b", "a ${b", "case $x in a) b;; esac", "[[ a < b ]]", "a >", "a |", "trap a TERM", "a $'b'"],
)  # fmt: skip
def test_what_steers_or_does_not_close_is_refused(text: str) -> None:
    with pytest.raises(Unplain):
        statements(text)


def test_a_statement_knows_what_stood_around_it() -> None:
    first, second, third = statements("a > f && b | tee g || c")

    assert (first.redirected, first.piped, first.after) == (True, "", "")
    assert (second.redirected, second.piped, second.after) == (False, "tee", "&&")
    assert third.after == "||"


@pytest.mark.parametrize(
    "word, known, value",
    [
        ("$A-b", {"A": "1"}, "1-b"),
        ("${A}b", {"A": "1"}, "1b"),
        ('"$A $B"', {"A": "1", "B": "2"}, "1 2"),
        ("'$A'", {"A": "1"}, "$A"),
        ("\\$A", {"A": "1"}, "$A"),
        ("$A", {}, None),
        ("${A:-x}", {"A": "1"}, None),
        ("$(a)", {}, None),
        ("*.py", {}, None),
        ("~/x", {}, None),
        ("a~", {}, "a~"),
        ("'*.py'", {}, "*.py"),
        ("a$", {}, "a$"),
    ],
)
def test_a_word_has_a_value_where_everything_of_it_is_known(
    word: str, known: dict[str, str], value: str | None
) -> None:
    [statement] = statements(word)

    assert statement.words[0].value(known) == value


def test_variables_of_words_are_taken_apart() -> None:
    [statement] = statements('run $ARGS "${MORE[@]}" "$ARGS"')
    inner = {"ARGS": "-a $B", "MORE": "'c d' e", "B": "-b 2"}

    assert [word.raw for word in spread(statement.words, inner)] == ["run", "-a", "-b", "2", "'c d'", "e", '"$ARGS"']


def test_variables_that_hold_each_other_come_to_an_end() -> None:
    [statement] = statements("run $A")

    assert spread(statement.words, {"A": "$B", "B": "$A"})


@given(
    words=st.lists(
        st.text(st.characters(blacklist_characters="\0", codec="utf-8"), min_size=1, max_size=8), min_size=1, max_size=4
    )
)
@settings(deadline=None)  # a busy machine is slow, and no bug
def test_quoted_words_are_read_as_python_s_own_reader_does(words: list[str]) -> None:
    text = shlex.join(["run", *words])
    [statement] = statements(text)

    assert [word.value({}) for word in statement.words] == shlex.split(text)


@given(text=st.text("ab1 $'\"\\`(){}|&;<>#=\n*~[]!-", max_size=40))
@settings(deadline=None)  # a busy machine is slow, and no bug
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = statements(text)
    except Unplain:
        return
    assert all(each.words for each in found)


@pytest.mark.parametrize(
    "text",
    ["printf '%s\\n' a\\ b 'c d' \"e $X f\" \"g\\\"h\" i''j \\\n k",
     "printf '%s\\n' \"a\\b\" '\\' a\\\\b \"$X\"'$X'\\$X \"a $\""],
)  # fmt: skip
def test_bash_reads_the_words_alike(text: str) -> None:
    [statement] = statements(text)
    values = [word.value({"X": "1"}) or "" for word in statement.words]
    said = subprocess.run(["bash", "-c", f"X=1; {text}"], capture_output=True, text=True, check=True).stdout

    assert said.splitlines() == values[2:]
