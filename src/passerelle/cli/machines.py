"""The machine that a name means: a profile's, or its beginning up to a dash, like `lumi` for `lumi-g`."""

from __future__ import annotations

from collections.abc import Container

from passerelle import profiles
from passerelle.errors import Invalid


def like(name: str) -> list[str]:
    """The profile of this name, else those that begin with it."""
    known = profiles.names()
    return [name] if name in known else [each for each in known if each.startswith(f"{name}-")]


def of_site(name: str, there: Container[str]) -> str | None:
    """The one profile that a Site's name means, where no manifest has the Site itself."""
    found = like(name)
    return found[0] if name not in there and len(found) == 1 else None


def named(name: str) -> str:
    """The one profile that a name means. Raises Invalid where there is none, or several."""
    match like(name):
        case [one]:
            return one
        case []:
            raise Invalid(f"There is no profile {name!r}; write one of {', '.join(profiles.names())}.")
    raise Invalid(f"Several profiles begin with {name!r}; write one of {', '.join(like(name))}.")
