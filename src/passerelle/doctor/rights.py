"""What a Site lets its users charge, held against what the site lets our user charge. Pure.

Slurm charges an account by the user's association with it in the job's partition, else by the one for all partitions.
It keeps names of accounts and QoS in small letters, and takes them in any.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from passerelle.doctor.check import Check, ok
from passerelle.gateways.surveys import Association, Survey
from passerelle.profiles import Profile
from passerelle.v1alpha1.site import Admission, SiteSpec

_SHOWN = 12


def rights(spec: SiteSpec, profile: Profile, survey: Survey, user: str) -> Iterator[Check]:
    """Accounts first, then the QoS that each may use."""
    if survey.associations is None:
        text = "Accounts and QoS were not checked: the site does not tell its associations."
        yield Check("accounts", "open", text, others=("qos",))
        return
    if not survey.associations:
        text = f"{user} may charge no account at all."
        fix = "Ask the site's support, or your project's leader, for an association with the project's account."
        yield Check("accounts", "wrong", text, fix, "AssociationMissing")
        return
    partition = spec.partition or profile.default_partition
    found = list(_accounts(spec, survey.associations, partition, user))
    yield from found
    if not any(each.verdict == "wrong" for each in found):
        named = [name for entry in spec.admission for name in entry.accounts]
        default = _default(survey.associations)
        yield ok("accounts", f"{user} may charge {_words(named or [default or 'none by default'])}.")
    if all(each.qos is None for each in survey.associations):
        yield Check("qos", "open", "QoS were not checked: the site does not tell them.")
        return
    found = list(_qualities(spec, profile, survey.associations, partition))
    yield from found
    if not any(each.verdict == "wrong" for each in found):
        named = [name for entry in spec.admission for name in entry.qos]
        text = f"{_words(named)} may be used." if named else "None is named, and the site's default counts."
        yield ok("qos", text)


def charged(associations: Sequence[Association], account: str, partition: str) -> Association | None:
    """The association by which Slurm charges an account in a partition."""
    own = {each.partition: each for each in associations if each.account.lower() == account.lower()}
    return own.get(partition) or own.get("")


def _may(row: Association, qos: str) -> bool:
    return qos.lower() in {each.lower() for each in _qos(row)}


def _qos(row: Association) -> tuple[str, ...]:
    return row.qos or ()


def _default(associations: Sequence[Association]) -> str | None:
    return next((each.account for each in associations if each.default), None)


def _accounts(spec: SiteSpec, associations: Sequence[Association], partition: str, user: str) -> Iterator[Check]:
    seen: set[str] = set()
    usable = _words([each.account for each in associations if not each.closed]) or "none"
    for number, entry in enumerate(spec.admission):
        field = f"spec.admission[{number}].accounts"
        default = _default(associations)
        if not entry.accounts and default is None:
            text = f"{field} is empty, and {user} has no default account at the site."
            yield Check("accounts", "wrong", text, f"Write one of {usable}.", "DefaultAccountMissing")
        for account in entry.accounts or ([default] if default is not None else []):
            if account in seen:
                continue
            seen.add(account)
            found = charged(associations, account, partition)
            if found is None and any(each.account.lower() == account.lower() for each in associations):
                text = f"{user} may charge account {account} in other partitions only, and jobs go to {partition}."
                yield Check("accounts", "wrong", text, f"Write one of {usable} in {field}.", "AccountElsewhere")
            elif found is None:
                text = f"{user} may not charge account {account}."
                fix = f"Write one of {usable} in {field}, or ask the site to add {user} to {account}."
                yield Check("accounts", "wrong", text, fix, "AccountUnknown")
            elif found.closed:
                text = f"Account {account} takes no jobs: a limit of it, or of {user} in it, is 0."
                fix = f"Its hours may be over, or it is of another way in: ask the site, or write one of {usable}."
                yield Check("accounts", "wrong", text, fix, "AccountClosed")


def _qualities(
    spec: SiteSpec, profile: Profile, associations: Sequence[Association], partition: str
) -> Iterator[Check]:
    for number, entry in enumerate(spec.admission):
        accounts = entry.accounts or [each for each in [_default(associations)] if each is not None]
        rows = [row for each in accounts if (row := charged(associations, each, partition)) and not row.closed]
        if not rows:
            continue  # told among the accounts
        field = f"spec.admission[{number}].qos"
        yield from _named(entry, rows, field)
        if not entry.qos:
            yield from _unnamed(profile, rows, field, partition)


def _named(entry: Admission, rows: Sequence[Association], field: str) -> Iterator[Check]:
    for name in entry.qos:
        without = [row for row in rows if not _may(row, name)]
        if not without:
            continue
        shared = sorted(set.intersection(*(set(_qos(row)) for row in rows)))
        fix = f"Write one of {_words(shared)} in {field}, or ask the site for it."
        accounts = _words([row.account for row in without])
        if len(without) == len(rows):
            yield Check("qos", "wrong", f"QoS {name} may not be used with {accounts}.", fix, "QosNotAllowed")
        else:
            text = f"QoS {name} may be used with some accounts of the entry, and not with {accounts}."
            yield Check("qos", "warning", text, "Split the entry, or tell its users.", "QosPartlyAllowed")


def _unnamed(profile: Profile, rows: Sequence[Association], field: str, partition: str) -> Iterator[Check]:
    """Where an entry names no QoS, the profile may."""
    rule = profile.qos_rule
    automatic = [each.name for each in profile.qos if each.automatic and partition in each.partitions]
    if rule.is_account:
        for row in rows:
            if not _may(row, row.account):
                text = f"Jobs of account {row.account} name a QoS of that name, which it may not use."
                fix = f"Write one of {_words(_qos(row))} in {field}."
                yield Check("qos", "wrong", text, fix, "QosNotAllowed")
        return
    if rule.required and not automatic:
        shared = sorted(set.intersection(*(set(_qos(row)) for row in rows)))
        text = f"The site wants each job to name a QoS, and {field} is empty."
        yield Check("qos", "wrong", text, f"Write one of {_words(shared)}.", "QosRequired")
    for name in automatic:
        without = [row.account for row in rows if not _may(row, name)]
        if without:
            text = f"Jobs of some size take QoS {name} by themselves, which may not be used with {_words(without)}."
            yield Check("qos", "warning", text, f"Name those that may in {field}.", "QosNotAllowed")


def _words(names: Sequence[str]) -> str:
    unique = list(dict.fromkeys(names))
    more = len(unique) - _SHOWN
    return ", ".join(unique[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
