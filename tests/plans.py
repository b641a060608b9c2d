"""Plans to test with: a TrainingJob, a Site and a profile, each as a user would write it, with what a test changes."""

from pathlib import Path
from typing import Any

from passerelle.brought import Brought
from passerelle.marker import Run
from passerelle.plan import Plan, plan
from passerelle.profiles import Profile, load
from passerelle.v1alpha1.site import SiteSpec
from passerelle.v1alpha1.trainingjob import TrainingJobSpec

RUN = Run("psr-" + "a" * 26)
ADMITTED = [{"namespaces": ["team-a"], "accounts": ["project1", "project2"], "qos": ["normal"]}]


def site(**changes: object) -> SiteSpec:
    base = {
        "profile": "sandbox",
        "gateway": {"driver": "slurmrestd", "url": "https://site.example.eu", "credentials": {"name": "token"}},
        "runRoot": "/scratch/startup/passerelle",
        "admission": ADMITTED,
    }
    return SiteSpec.model_validate(base | changes)


def job(**changes: object) -> TrainingJobSpec:
    """A change to None takes a field away."""
    base = {
        "site": "sandbox",
        "image": "/scratch/images/train.sif",
        "command": ["python", "train.py"],
        "gpus": 8,
        "timeLimit": "30m",
    }
    return TrainingJobSpec.model_validate({key: value for key, value in (base | changes).items() if value is not None})


def image_for(facts: Profile) -> str:
    """A path that the profile's first runtime can enter."""
    return f"/scratch/images/train.{'sqsh' if facts.runtimes[0].kind in ('pyxis', 'edf') else 'sif'}"


def profile(name: str = "sandbox", **of_the_partition: object) -> Profile:
    found = load(name)
    first = found.partitions[0].model_copy(update=of_the_partition)
    return found.model_copy(update={"partitions": [first, *found.partitions[1:]]})


def planned(
    spec: TrainingJobSpec | None = None,
    at: SiteSpec | None = None,
    facts: Profile | None = None,
    *,
    attempt: int = 1,
    files: tuple[tuple[str, bytes], ...] = (),
    brought: Brought | None = None,
    **more: Any,
) -> Plan:
    known: dict[str, Any] = {"namespace": "team-a", "name": "llm", "namespace_labels": {}, "run": RUN} | more
    return plan(
        spec or job(),
        at or site(),
        facts or profile(),
        attempt=attempt,
        brought=brought or Brought(files=files),
        **known,
    )


SOURCE = Path(__file__).parent.parent / "src"
