"""Account, QoS and reservation: does somebody pay, and may the job use what it names?"""

from __future__ import annotations

import re
from collections.abc import Iterator

from passerelle.errors import Invalid
from passerelle.preflight.finding import Finding, graded, warning, written
from passerelle.preflight.request import Request


def findings(request: Request) -> Iterator[Finding]:
    if not isinstance(request.account, Invalid):
        yield from _account(request, request.account)
    yield from _reservation(request)


def _account(request: Request, account: str | None) -> Iterator[Finding]:
    rule, field = request.profile.accounts, "spec.account"
    if account is None:
        if rule.required and rule.confidence != "low" and request.entry is not None:
            text = "The site takes no job without an account, and the Site admits this namespace with none."
            example = f", like {rule.example}" if rule.example else ""
            fix = f"The Site's administrator can write the project's account{example}, into its spec.admission."
            say = graded(certain=rule.confidence == "high")  # Slurm may have a default account for the user
            yield say("AccountRequired", field, text, fix)
        return
    if rule.confidence == "low":
        return
    if rule.suffix is not None:
        if not account.endswith(rule.suffix):
            yield _suffix(request, account, rule.suffix)
    elif rule.pattern is not None and re.fullmatch(rule.pattern, account) is None:
        like = f", like {rule.example}" if rule.example else ""
        text = f"Account {account} does not look like those of this site{like}."
        listed = f"; `{rule.command}` lists yours at the site" if rule.command else ""
        fix = f"Write the account that the site gave the project, not the number of its grant{listed}."
        yield warning("AccountPattern", field, text, fix)


def _suffix(request: Request, account: str, suffix: str) -> Finding:
    text = f"Account {account} does not end with {suffix}, as those that may use the GPU nodes do."
    say = graded(certain=request.profile.accounts.confidence == "high")
    fitting = [each for each in (request.entry.accounts if request.entry is not None else []) if each.endswith(suffix)]
    if len(fitting) == 1:
        patch = written("account", fitting[0])
        return say("AccountSuffix", "spec.account", text, f"Write account: {fitting[0]}.", patch=patch)
    fix = f"Write the project's account that ends with {suffix}; the Site's administrator can admit it."
    return say("AccountSuffix", "spec.account", text, fix)


def _reservation(request: Request) -> Iterator[Finding]:
    placed = request.placed
    if placed is None or request.job.reservation is not None:
        return
    qos = request.profile.qos_of(placed.partition, placed.qos)
    by_qos = qos is not None and qos.needs_reservation
    if not by_qos and not placed.partition.needs_reservation:
        return
    name = qos.reservation if qos is not None and by_qos else None
    said_by = qos if qos is not None and by_qos else placed.partition
    say, field = graded(certain=said_by.confidence == "high"), "spec.reservation"
    text = f"{placed.where[:1].upper()}{placed.where[1:]} takes jobs in a reservation only."
    if name is not None:
        fix, patch = f"Write reservation: {name}.", written("reservation", name)
        yield say("ReservationRequired", field, text, fix, patch=patch)
    else:
        yield say("ReservationRequired", field, text, "Write the reservation that the site made for you.")
