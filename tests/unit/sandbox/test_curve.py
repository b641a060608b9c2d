from passerelle_sandbox import curve


def test_a_curve_fits_a_terminal_and_falls_as_its_values_do() -> None:
    lines = curve.plot([8.0, 4.0, 2.0, 1.0, 0.0], horizontal="step")

    assert max(map(len, lines)) <= 80
    assert lines[0] == "     8.000 |************"
    assert lines[curve.ROWS - 1] == "     0.000 |" + " " * 48 + "*" * 12
    assert lines[-1].split() == ["step", "1", "step", "5"]
    assert sum(line.count("*") for line in lines) == curve.COLUMNS


def test_a_curve_that_is_flat_is_drawn_all_the_same() -> None:
    assert curve.plot([1.0], horizontal="step")[0] == "     1.000 |" + "*" * curve.COLUMNS
