"""The doctor: what was asked of a Site and its site -> checks, each with what to do next. Pure.

One file a theme. Whoever asks stands outside (examination.py): here is judged only. A check that isn't ok has an id, by
which docs/site.md explains it.
"""

from __future__ import annotations

from passerelle.doctor.check import Check, Verdict, ok, refused, unasked

__all__ = ["Check", "Verdict", "ok", "refused", "unasked"]
