"""Who may use a Site, and what they may charge. Pure.

The first entry that admits a namespace counts; an empty list admits nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from passerelle.errors import Invalid
from passerelle.v1alpha1.site import Admission, SiteSpec


def admitted(site: SiteSpec, site_name: str, namespace: str, labels: Mapping[str, str]) -> Admission:
    """The entry that admits a namespace. Raises Invalid where none does."""
    found = entry(site, namespace, labels)
    if found is not None:
        return found
    raise Invalid(
        f"Site {site_name} does not admit namespace {namespace}; its administrator can add the namespace to the Site's "
        "spec.admission.",
        reason="NamespaceNotAdmitted",
    )


def entry(site: SiteSpec, namespace: str, labels: Mapping[str, str]) -> Admission | None:
    """The entry that admits a namespace, by name or by its labels; None where none does."""
    for each in site.admission:
        chosen = bool(each.selector) and all(labels.get(key) == value for key, value in each.selector.items())
        if namespace in each.namespaces or chosen:
            return each
    return None


def account(entry: Admission, asked: str | None) -> str | None:
    """The account to charge; None leaves it to the site."""
    return _choose(asked, entry.accounts, "account", "AccountNotAllowed")


def qos(entry: Admission, asked: str | None) -> str | None:
    """The quality of service; None leaves it to the site."""
    return _choose(asked, entry.qos, "qos", "QosNotAllowed")


def _choose(asked: str | None, allowed: Sequence[str], field: str, reason: str) -> str | None:
    if asked is None:
        return allowed[0] if allowed else None
    if asked in allowed:
        return asked
    fix = f"write one of {', '.join(allowed)}" if allowed else f"leave {field} out; this namespace may name none"
    raise Invalid(f"{field} {asked!r} is not allowed here: {fix}.", reason=reason)
