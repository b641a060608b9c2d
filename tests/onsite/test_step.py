"""From the claim to the first rank: modules, image, rendezvous, the step itself, and what is said where one fails."""

import dataclasses
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from passerelle.onsite.codes import IMAGE_NOT_FOUND, SITE_FAULT
from passerelle.onsite.prepare import environment_definition
from passerelle.onsite.step import placed, srun
from passerelle.profiles import Profile, load
from passerelle.progress import parse_comment
from passerelle.render import render
from passerelle.slurm import ENDINGS_BY_CODE, Blame
from plans import job, planned, profile, site
from stubs import TELL, Stubs, attempt_directory, batch

DIGEST = "9f2b6c0d51e84a37" * 4
HERE = "/run/attempt-1-41-0"


@pytest.fixture
def stubs(tmp_path: Path) -> Stubs:
    return Stubs(tmp_path)


def facts(launch: dict[str, object] | None = None, runtime: dict[str, object] | None = None) -> Profile:
    found = profile()
    return found.model_copy(
        update={
            "launch": found.launch.model_copy(update=launch or {}),
            "runtimes": [found.runtimes[0].model_copy(update=runtime or {})],
        }
    )


def tool(stubs: Stubs, name: str, text: str) -> None:
    (stubs.place / name).write_text(f"#!/bin/bash\n{text}\n")
    (stubs.place / name).chmod(0o755)


def told(stubs: Stubs) -> dict[str, str]:
    """The environment of the first rank."""
    _, env, _ = json.loads((attempt_directory(stubs) / "told-0").read_text())
    assert isinstance(env, dict)
    return env


def assert_fault(stubs: Stubs, done: "subprocess.CompletedProcess[str]", code: int, text: str) -> None:
    """The job ended with the code, its comment says why, and no step of ranks began."""
    assert done.returncode == code, done.stdout
    report = parse_comment(stubs.comments()[-1])
    assert report.exit is not None
    assert (report.exit.code, report.stderr) == (code, text)
    assert not any(" rank " in step for step in stubs.asked("steps"))


def spec_of(name: str, image: str, **spec: object) -> dict[str, Any]:
    """What spec.json holds for two whole nodes of a profile."""
    admission = [{"namespaces": ["team-a"], "accounts": ["project1"], "qos": []}]
    asked = job(**({"image": image, "gpus": None, "nodes": 2, "timeLimit": "1h"} | spec))
    text = render(planned(asked, site(profile=name, admission=admission), load(name), files=(("/w/a", b"x"),))).script
    found = json.loads(next(line for line in text.splitlines() if line.startswith('{"agent":')))
    assert isinstance(found, dict)
    return found


def test_a_missing_image_is_named_before_anything_starts(stubs: Stubs) -> None:
    stubs.image.unlink()

    done = stubs.run(batch(stubs), SLURMD_NODENAME="n1")

    assert_fault(stubs, done, IMAGE_NOT_FOUND, f"There is no readable image at {stubs.image} on n1.")


def test_another_attempt_would_find_no_image_either() -> None:
    assert ENDINGS_BY_CODE[IMAGE_NOT_FOUND].reason == "ImageNotFound"
    assert ENDINGS_BY_CODE[IMAGE_NOT_FOUND].blame is Blame.USER


def test_an_image_that_one_node_does_not_see_is_named_with_the_node(stubs: Stubs) -> None:
    seen = batch(stubs)
    script = seen.script.replace('python3 "$lib" step', f'rm {stubs.image}\npython3 "$lib" step')

    done = stubs.run(dataclasses.replace(seen, script=script))

    assert done.returncode == IMAGE_NOT_FOUND, done.stdout
    said = parse_comment(stubs.comments()[-1]).stderr  # whichever rank comes first
    assert said in {f"There is no readable image at {stubs.image} on {node}." for node in ("n1", "n2")}


def test_the_sites_modules_are_loaded_in_order_after_a_purge(stubs: Stubs) -> None:
    tool(stubs, "module", 'echo "$*" >> "$STUBS/modules"')
    site_facts = facts(runtime={"modules": ["bindings", "apptainer/1.4"], "module_paths": ["/appl/modules"]})

    done = stubs.run(batch(stubs, facts=site_facts))

    assert done.returncode == 0, done.stdout
    assert stubs.asked("modules") == ["purge", "use /appl/modules", "load bindings", "load apptainer/1.4"]


def test_a_module_that_is_missing_is_named(stubs: Stubs) -> None:
    tool(stubs, "module", '[ "$1" != load ]')

    done = stubs.run(batch(stubs, facts=facts(runtime={"modules": ["bindings"]})))

    assert_fault(stubs, done, SITE_FAULT, "the module bindings can't be loaded")


def test_a_runtime_that_is_missing_is_named(stubs: Stubs) -> None:
    done = stubs.run(batch(stubs, facts=facts(runtime={"binary": "no-such-runtime"})))

    assert_fault(stubs, done, SITE_FAULT, "this node has no no-such-runtime")


def test_what_modules_tell_the_runtime_reaches_it(stubs: Stubs) -> None:
    tool(stubs, "module", "true")
    seen = stubs.place / "apptainer.py"
    seen.write_text(
        "import os\nopen(os.path.dirname(__file__) + '/bind', 'w').write(os.environ['APPTAINER_BIND'])\n"
        + seen.read_text()
    )

    done = stubs.run(batch(stubs), APPTAINER_BIND="/opt/cray")

    assert done.returncode == 0, done.stdout
    assert stubs.asked("bind") == ["/opt/cray"]


def test_the_rendezvous_is_the_fabrics_name_or_its_address(stubs: Stubs) -> None:
    tool(stubs, "getent", 'echo "10.0.0.7 STREAM $2"')

    named, found = facts({"host_suffix": "i"}), facts({"host_suffix": "i", "address": "ip"})
    assert stubs.run(batch(stubs, facts=named)).returncode == 0
    assert told(stubs)["MASTER_ADDR"] == "n1i"

    again = stubs.run(batch(stubs, attempt=2, facts=found), 42)

    assert again.returncode == 0, again.stdout
    env = json.loads((attempt_directory(stubs, 42, 2) / "told-0").read_text())[1]
    assert env["MASTER_ADDR"] == "10.0.0.7"


@pytest.mark.parametrize("answer", ["exit 2", "echo 127.0.1.1 STREAM n1"])
def test_an_address_that_no_other_node_reaches_is_no_rendezvous(stubs: Stubs, answer: str) -> None:
    tool(stubs, "getent", answer)

    done = stubs.run(batch(stubs, facts=facts({"address": "ip"})))

    shown = "127.0.1.1" if "127" in answer else "none"
    text = f"the name n1 leads to no address that other nodes could reach: {shown}"
    assert_fault(stubs, done, SITE_FAULT, text)


def test_a_registrys_image_is_pulled_once_in_a_step_of_its_own(stubs: Stubs) -> None:
    image = f"registry.example.eu/train@sha256:{DIGEST}"
    for attempt, job_id in ((1, 41), (2, 42)):
        done = stubs.run(batch(stubs, image=image, attempt=attempt), job_id)
        assert done.returncode == 0, done.stdout

    assert stubs.asked("pulled") == [f"docker://{image}"]
    assert [step for step in stubs.asked("steps") if "--job-name=image" in step and step.endswith("spec.json")]
    made = stubs.root / "images"
    assert sorted(each.name for each in made.iterdir()) == [f"sha256-{DIGEST}.sif", f"sha256-{DIGEST}.sif.lock"]


@pytest.mark.parametrize(
    "said,code", [("FATAL: manifest unknown", IMAGE_NOT_FOUND), ("FATAL: connection reset by peer", SITE_FAULT)]
)
def test_a_pull_that_fails_says_why_and_leaves_nothing(stubs: Stubs, said: str, code: int) -> None:
    (stubs.place / "registry-says").write_text(said)
    image = f"registry.example.eu/train@sha256:{DIGEST}"

    done = stubs.run(batch(stubs, image=image))

    assert_fault(stubs, done, code, f"docker://{image} can't be pulled: {said}")
    assert [each.suffix for each in (stubs.root / "images").iterdir()] == [".lock"]


def test_an_agent_that_met_nobody_is_found_out(stubs: Stubs) -> None:
    tool(stubs, "torchrun", 'while [ "${1#--}" != "$1" ]; do shift; done; RANK=0 WORLD_SIZE=1 exec python3 "$@"')

    done = stubs.run(batch(stubs, launcher="torchrun"))

    assert done.returncode == SITE_FAULT, done.stdout
    assert parse_comment(stubs.comments()[-1]).stderr == "the agent made a world of 1, the plan has 4"


def test_a_launchers_variables_are_the_tasks_own(stubs: Stubs) -> None:
    done = stubs.run(batch(stubs, launcher="jax", env=[{"name": "JAX_COORDINATOR_ADDRESS", "value": "mine"}]))

    assert done.returncode == 0, done.stdout
    assert told(stubs)["JAX_COORDINATOR_ADDRESS"] == "n1:20041"


def test_deepspeed_finds_what_its_launcher_would_set(stubs: Stubs) -> None:
    assert stubs.run(batch(stubs, launcher="deepspeed")).returncode == 0

    env = told(stubs)
    assert env["LOCAL_SIZE"] == env["LOCAL_WORLD_SIZE"] == "2"
    assert env["TORCH_EXTENSIONS_DIR"] == f"{attempt_directory(stubs)}/torch-extensions"


def test_a_script_runs_once_outside_the_image(stubs: Stubs) -> None:
    body = '#!/bin/bash\necho "$0 $1 in $PWD with $PASSERELLE_IMAGE at $MASTER_ADDR" > "$PASSERELLE_RUN_DIR/said"\n'
    spec = job(launcher="script", command=["/w/job.sh", "/w/job.sh"], gpus=4, gpusPerNode=2, image=str(stubs.image))
    made = render(planned(spec, site(runRoot=str(stubs.root)), files=(("/w/job.sh", body.encode()),)))

    done = stubs.run(made)

    assert done.returncode == 0, done.stdout
    here = attempt_directory(stubs)
    place = f"{here}/files/0/job.sh"
    said = (here.parent / "said").read_text()
    assert said == f"{place} {place} in {here}/work with {stubs.image} at n1\n"
    assert stubs.asked("steps") == stubs.asked("entered") == []


def test_a_script_that_fails_is_the_users_failure(stubs: Stubs) -> None:
    done = stubs.run(batch(stubs, "import sys; print('boom', file=sys.stderr); sys.exit(7)", launcher="script"))

    assert done.returncode == 7, done.stdout
    report = parse_comment(stubs.comments()[-1])
    assert report.exit is not None
    assert (report.exit.code, report.exit.rank, report.stderr) == (7, None, "boom")


def test_srun_is_told_what_the_site_knows_of_binding() -> None:
    words = srun(spec_of("lumi-g", "/images/train.sif"), HERE)

    assert words[:5] == ["srun", "--nodes=2", "--ntasks=16", "--ntasks-per-node=8", "--cpus-per-task=7"]
    assert {"--mpi=none", "--kill-on-bad-exit=1", "--wait=60", "--label"} < set(words)
    assert [word for word in words if word.startswith("--cpu-bind=mask_cpu:0x00fe000000000000,")]


def test_pyxis_starts_the_image_with_the_run_and_the_files_in_it() -> None:
    spec = spec_of("deucalion-gpu", "/images/train.sqsh")
    run = spec["container"]["binds"][0]

    words = srun(spec, HERE)

    assert words[-3:] == [
        "--container-image=/images/train.sqsh",
        "--no-container-mount-home",
        f"--container-mounts={run}:{run},{HERE}/files/0:/w:ro",
    ]


def test_an_environment_definition_file_brings_image_mounts_and_annotations() -> None:
    spec = spec_of("alps-clariden", '/images/"quoted" é.sqsh')
    run = spec["container"]["binds"][0]

    assert srun(spec, HERE)[-1] == f"--environment={HERE}/environment.toml"
    assert tomllib.loads(environment_definition(spec, HERE)) == {
        "image": '/images/"quoted" é.sqsh',
        "mounts": [f"{run}:{run}", f"{HERE}/files/0:/w:ro"],
        "annotations": {"com": {"hooks": {"aws_ofi_nccl": {"enabled": "true"}}}},
    }


def test_a_users_own_environment_file_lies_under_the_attempts() -> None:
    written = tomllib.loads(environment_definition(spec_of("alps-clariden", "/images/own.toml"), HERE))

    assert written["base_environment"] == ["/images/own.toml"]
    assert "image" not in written


def test_only_a_path_among_the_files_is_moved() -> None:
    spec = spec_of("sandbox", "/images/train.sif", launcher="script", command=["/w/a"])

    assert [placed(spec, HERE, word) for word in ("/w/a", "/w/b", "a")] == [f"{HERE}/files/0/a", "/w/b", "a"]


def test_the_program_is_one_file_that_python_runs(stubs: Stubs) -> None:
    assert stubs.run(batch(stubs, TELL)).returncode == 0
    lib = attempt_directory(stubs) / "lib"

    done = subprocess.run([sys.executable, str(lib), "deadline"], capture_output=True, text=True, check=False)

    assert lib.is_file()
    assert "IndexError" in done.stderr, "it wants to be told more"
