"""Who is told what the reconciler sees. A witness only looks: nothing that it does may change a pass, or raise."""

from __future__ import annotations

import contextlib
from typing import Protocol

from passerelle.objects import Key, TrainingJob


class Witness(Protocol):
    """Metrics, or nobody."""

    def kept(self, job: TrainingJob) -> None:
        """kube-apiserver has this of a TrainingJob."""
        ...

    def forgotten(self, key: Key) -> None:
        """A TrainingJob is no more."""
        ...

    def moved(self, site: str, direction: str, size: int) -> None:
        """So many bytes were copied to a site (In) or from it (Out)."""
        ...

    def one_pass(self) -> contextlib.AbstractContextManager[None]:
        """A pass runs inside; an exception that leaves it is a defect."""
        ...


class Nobody:
    """The Witness where nobody looks."""

    def kept(self, job: TrainingJob) -> None:
        pass

    def forgotten(self, key: Key) -> None:
        pass

    def moved(self, site: str, direction: str, size: int) -> None:
        pass

    def one_pass(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()
