"""What is drawn for a change is drawn from the commit, and over time everything is."""

from stages import DRAWN_ROWS, EVERY_SERVER, contract_rows, drawn


def test_the_rows_that_every_server_proves_exist() -> None:
    assert set(EVERY_SERVER) < set(contract_rows())


def test_the_same_commit_draws_the_same_rows_and_many_commits_draw_them_all() -> None:
    rest = [row for row in contract_rows() if row not in EVERY_SERVER]

    assert drawn("a", rest, DRAWN_ROWS) == drawn("a", rest, DRAWN_ROWS)
    assert len(drawn("a", rest, DRAWN_ROWS)) == DRAWN_ROWS
    assert {row for commit in range(100) for row in drawn(str(commit), rest, DRAWN_ROWS)} == set(rest)
