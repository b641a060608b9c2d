"""A defect on purpose: an error that says nothing of a job is taken for word that there is none."""

from passerelle.batch import Batch
from passerelle.errors import Unavailable
from passerelle.gateways.slurmrestd.driver import Slurmrestd

_submit = Slurmrestd.submit


async def _trusting(self: Slurmrestd, batch: Batch) -> str:
    try:
        return await _submit(self, batch)
    except Unavailable as error:
        raise Unavailable(error.message, reason=error.reason, sent=False) from None


Slurmrestd.submit = _trusting  # type: ignore[method-assign]
