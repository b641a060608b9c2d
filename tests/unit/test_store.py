"""The store: what lies there is kube-apiserver's, small, and nobody else's to change."""

from __future__ import annotations

import json
import tracemalloc
import uuid
from typing import Any

from passerelle.objects import Key
from passerelle.store import Store

CONDITIONS = [
    {
        "type": kind,
        "status": "True",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-01-12T13:46:50Z",
        "reason": "Planned",
        "message": f"{kind}: 2 nodes with 4 GPUs each in partition gpu, for at most 10 minutes.",
    }
    for kind in ("Accepted", "Submitted", "Running", "Succeeded", "Finished", "Ready")
]


def body(number: int) -> dict[str, Any]:
    """As it comes from JSON: nothing but the keys' names is shared with another one."""
    made: dict[str, Any] = json.loads(
        json.dumps(
            {
                "metadata": {
                    "namespace": "team-a",
                    "name": f"job-{number}",
                    "uid": str(uuid.UUID(int=number)),
                    "resourceVersion": str(number),
                    "managedFields": [{"manager": "kubectl", "fieldsV1": {f"f:{each}": {} for each in range(20)}}],
                },
                "spec": {"site": "lumi", "image": "/i.sif", "command": ["train"] * 3, "nodes": 2, "timeLimit": "10m"},
                "status": {"summary": "Queued", "conditions": CONDITIONS},
            }
        )
    )
    return made


def test_what_is_kept_is_a_copy() -> None:
    store, key, mine = Store(), Key("team-a", "job-1"), body(1)
    store.keep(key, mine)
    mine["status"]["summary"] = "Running"

    found = store.get(key)
    assert found is not None
    assert found.status.summary == "Queued"
    assert found.raw_status["conditions"] == CONDITIONS


def test_a_training_job_lies_in_a_few_kilobytes() -> None:
    """As dicts, this one takes 6.8 KB; so it takes 2.3."""
    store = Store()
    store.keep(Key("team-a", "job-0"), body(0))
    tracemalloc.start()
    for number in range(1, 201):
        store.keep(Key("team-a", f"job-{number}"), body(number))
    held = tracemalloc.get_traced_memory()[0] / 200
    tracemalloc.stop()

    assert held < 3_000


def test_an_object_is_found_by_place_run_and_site_until_it_is_forgotten() -> None:
    store, key = Store(), Key("team-a", "job-1")
    job = store.keep(key, body(1))
    assert (store.of_run(job.run), store.of_site("lumi"), store.site(key), store.uid(key)) == (
        key,
        [key],
        "lumi",
        job.uid,
    )
    assert store.forget(key, "another") is None
    assert store.forget(key, job.uid) is not None
    assert (store.of_run(job.run), store.of_site("lumi"), key in store, store.uid(key)) == (None, [], False, "")


def test_an_echo_is_no_news() -> None:
    store, key = Store(), Key("team-a", "job-7")
    store.keep(key, body(7))
    older, newer, other = body(7), body(7), body(7)
    older["metadata"]["resourceVersion"], newer["metadata"]["resourceVersion"] = "6", "8"
    other["metadata"]["uid"] = "another"

    assert [store.is_news(key, each) for each in (body(7), older, newer, other)] == [False, False, True, True]
    assert store.is_news(key, older, listed=True)
