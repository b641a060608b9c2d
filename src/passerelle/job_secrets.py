"""The Secrets that TrainingJobs name, read: the one place where it is said which of them the operator hands out.

The operator's own namespace holds the Sites' credentials, and the operator may read them whoever asks. So nothing of it
is handed out unless an administrator lists it by name, and what a Site names never is. Elsewhere Kubernetes' RBAC says.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from passerelle.errors import Invalid, Unavailable
from passerelle.kube import REFUSED, Kube


class Withheld(Invalid):
    """The operator may not read this Secret, or gives it to no training."""

    reason = "SecretForbidden"


class JobSecrets:
    """`home` is the operator's namespace; `listed` are those whose Secrets TrainingJobs may name; `of_sites` tells the
    names of the Sites' own.
    """

    def __init__(
        self, kube: Kube, *, home: str, listed: Collection[str] = (), of_sites: Callable[[], Collection[str]]
    ) -> None:
        self._kube = kube
        self._home = home
        self._listed = frozenset(listed)
        self._of_sites = of_sites

    async def read(self, namespace: str, name: str) -> Mapping[str, bytes]:
        """The keys of a Secret. Raises Withheld for one that is not for TrainingJobs, Gone where there is none, and
        Unavailable.
        """
        if namespace == self._home:
            if namespace not in self._listed:  # "*" does not say that the Sites' credentials are meant
                text = f"Secrets in namespace {namespace} are the operator's own, and no TrainingJob gets one; create"
                raise Withheld(f"{text} the TrainingJob and its Secrets in a namespace of your own.")
            if name in self._of_sites():
                text = f"Secret {name} in namespace {namespace} belongs to a Site, and no TrainingJob gets it; create"
                raise Withheld(f"{text} another one for the training.")
        try:
            return await self._kube.secret(namespace, name)
        except Unavailable as error:
            if error.reason != REFUSED:
                raise
            text = (
                f"The operator may not read Secrets in namespace {namespace}; its administrator adds {namespace} to "
                "the chart's value secretNamespaces."
            )
            raise Withheld(text) from None
