"""How often a credential that was refused is shown again."""

from __future__ import annotations

import pytest

from passerelle.errors import Unauthorized, Unavailable
from passerelle.gateways import meter
from passerelle.refused import Refused


class Site:
    """What it is shown, and when, in minutes; it takes "good"."""

    def __init__(self) -> None:
        self.now = 0.0
        self.refused = Refused(lambda: self.now)
        self.shown: list[float] = []
        self.why = Unauthorized("Not you.", reason="TokenRefused")
        self.sends = True

    def ask(self, credential: str) -> str:
        """What a look tells of it."""
        try:
            with self.refused.showing(credential):
                if self.sends:
                    meter.called()
                self.shown.append(self.now / 60)
                if credential != "good":
                    raise self.why
        except Unauthorized as error:
            return error.reason
        return "taken"

    def for_minutes(self, minutes: int, credential: str = "bad") -> list[float]:
        """It is asked with it once a minute."""
        self.shown.clear()
        for _ in range(minutes):
            assert self.ask(credential) == ("taken" if credential == "good" else self.why.reason)
            self.now += 60
        return self.shown


def test_a_refused_credential_is_shown_ever_later_and_what_it_is_told_stays() -> None:
    assert Site().for_minutes(90) == [0, 2, 6, 14, 29, 44, 59, 74, 89]


def test_another_credential_is_shown_at_once_and_begins_anew() -> None:
    site = Site()
    site.for_minutes(30)
    assert site.for_minutes(5, "worse") == [30, 32]
    assert site.for_minutes(3, "good") == [35, 36, 37]
    assert site.for_minutes(5) == [38, 40]


def test_what_was_refused_here_is_asked_as_often_as_before() -> None:
    """A certificate that begins tomorrow is good then."""
    site = Site()
    site.why, site.sends = Unauthorized("Tomorrow.", reason="CertificateNotYetValid"), False
    assert len(site.for_minutes(10)) == 10


def test_a_site_that_does_not_answer_has_taken_nothing() -> None:
    site = Site()
    site.ask("bad")
    site.now += 120
    with pytest.raises(Unavailable), site.refused.showing("bad"):
        raise Unavailable("No answer.")
    site.ask("bad")
    site.now += 120
    assert site.for_minutes(2) == [], "it is its second time"
