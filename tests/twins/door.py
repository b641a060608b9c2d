"""A twin's two doors: a job enters as slurmrestd's JSON or as an `#SBATCH` header, held, is read, and is cancelled.

A held job isn't tried on the nodes, so Slurm takes many that could never start; `--test-only` beside it does try.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from passerelle.batch import Batch
from passerelle.gateways.slurmrestd.versions import NEWEST
from passerelle.header import headed
from passerelle_sandbox.site.layout import RUN_ROOT
from passerelle_sandbox.site.serve import Site

_TIMEOUT = 30.0
_STARTS = re.compile(r"to start at \S+ .*using \d+ processors on nodes \S+ in partition \S+")


@dataclass(frozen=True)
class Refused(Exception):
    """Slurm's words."""

    words: str


class Door:
    """One twin, as its user sees it."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._http = httpx.Client(
            base_url=site.url,
            headers={"X-SLURM-USER-NAME": site.user, "X-SLURM-USER-TOKEN": site.token()},
            timeout=_TIMEOUT,
        )

    def close(self) -> None:
        self._http.close()

    @property
    def dialects(self) -> dict[str, Callable[[Batch], dict[str, Any]]]:
        """How a job may enter; each returns the record that Slurm then has of it, or raises Refused."""
        return {"JSON": self.as_json, "#SBATCH": self.as_header}

    def as_json(self, batch: Batch) -> dict[str, Any]:
        body = NEWEST.submit(batch)
        body["job"]["hold"] = True
        answer = self._http.post(f"/{NEWEST.slurm}/job/submit", json=body).json()
        ignored = [each for each in answer["warnings"] if each["source"].startswith("#/")]
        if not answer.get("job_id") or ignored:
            raise Refused(
                "; ".join(f"{each.get('error', '')} {each['description']}" for each in answer["errors"] + ignored)
            )
        return self._taken(answer["job_id"])

    def as_header(self, batch: Batch) -> dict[str, Any]:
        return self.as_script(headed(batch))

    def as_script(self, text: str, *how: str) -> dict[str, Any]:
        """Anybody's sbatch script, with options beside its own lines."""
        return self._taken(int(self._sbatch(text, "--hold", "--parsable", *how).strip()))

    def test_only(self, batch: Batch) -> None:
        """Whether it could ever start; raises Refused."""
        said = self._sbatch(headed(batch), "--test-only")
        if not _STARTS.search(said):
            raise Refused(said.strip())

    def _taken(self, job_id: int) -> dict[str, Any]:
        try:
            answer = self._http.get(f"/{NEWEST.slurm}/job/{job_id}").json()
            record: dict[str, Any] = answer["jobs"][0]
            return record
        finally:
            self._http.delete(f"/{NEWEST.slurm}/job/{job_id}").raise_for_status()

    def _sbatch(self, text: str, *how: str) -> str:
        script = f"{RUN_ROOT}/asked.sh"
        (self._site.directory / script.lstrip("/")).write_text(text, encoding="ascii")
        done = self._site.run(["sbatch", *how, script], self._site.user)
        if done.returncode != 0:
            raise Refused(" ".join(done.stderr.split()))
        return done.stdout + done.stderr
