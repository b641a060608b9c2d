"""What preflight says of a site's directories that a container doesn't show."""

from __future__ import annotations

from typing import Any

import pytest

from mistakes.told import at, said
from passerelle import profiles
from passerelle.preflight import Finding, preflight
from passerelle.profiles import Profile
from passerelle.v1alpha1.site import SiteSpec
from passerelle.v1alpha1.trainingjob import TrainingJobSpec

WORK = "/leonardo_work/AIFAC_P02_222"
CODE = f"{WORK}/code"
SOURCE = {"s3": {"url": "s3://bucket/code/", "secretRef": {"name": "store"}}}


def missing(told: tuple[Finding, ...]) -> list[Finding]:
    return [each for each in told if each.id == "PathNotInContainer"]


def fields(**spec: Any) -> list[str]:
    return [each.field for each in missing(at("leonardo-booster", **spec))]


def with_runtime(facts: Profile, **runtime: Any) -> Profile:
    first = facts.runtimes[0].model_copy(update=runtime)
    return facts.model_copy(update={"runtimes": [first]})


def at_profile(facts: Profile, **spec: Any) -> list[str]:
    site = SiteSpec.model_validate(
        {
            "profile": "leonardo-booster",
            "gateway": {"driver": "slurmrestd", "url": "https://site.example.eu", "credentials": {"name": "token"}},
            "runRoot": f"{WORK}/passerelle",
            "admission": [{"namespaces": ["team-a"]}],
        }
    )
    given = {"site": "s", "image": "/mnt/train.sif", "command": ["python", "/t.py"], "timeLimit": "2h", "nodes": 1}
    job = TrainingJobSpec.model_validate(given | {"workingDir": CODE} | spec)
    return [each.field for each in missing(preflight(job, site, facts, entry=None))]


class TestWhatIsTold:
    @pytest.mark.parametrize(
        "spec,field,name,path",
        [
            ({"workingDir": CODE}, "spec.workingDir", "code", CODE),
            ({"workingDir": f"{CODE}/"}, "spec.workingDir", "code", CODE),
            ({"command": ["python", f"{CODE}/train.py"]}, "spec.command", "code", CODE),
            ({"command": ["bash", "-c", f"cd {CODE} && python t.py"]}, "spec.command", "code", CODE),
            ({"command": ["bash", "-c", f"cat {CODE}/*/7b.yaml"]}, "spec.command", "code", CODE),
            ({"args": [f"--data={WORK}/Web Text/x"]}, "spec.args", "aifac-p02-222", WORK),
            ({"args": [f"--data={WORK}/WebText_2"]}, "spec.args", "webtext-2", f"{WORK}/WebText_2"),
            ({"args": ["--data", f"{WORK}/v1.2/../v1.2"]}, "spec.args", "v1-2", f"{WORK}/v1.2"),
            ({"args": ["--data", f"{WORK}/corpus.tar"]}, "spec.args", "aifac-p02-222", WORK),
            ({"args": ["--data", "/leonardo_work/corpus.tar"]}, "spec.args", "corpus-tar", "/leonardo_work/corpus.tar"),
            ({"env": [{"name": "HF_HOME", "value": f"{WORK}/hf"}]}, "spec.env[0]", "hf", f"{WORK}/hf"),
            ({"env": [{"name": "PYTHONPATH", "value": f"/opt/x:{CODE}"}]}, "spec.env[0]", "code", CODE),
        ],
    )
    def test_the_directory_is_told_where_it_is_named(
        self, spec: dict[str, Any], field: str, name: str, path: str
    ) -> None:
        (told,) = missing(at("leonardo-booster", **spec))

        assert (told.severity, told.field, told.patch) == ("warning", field, ())
        assert told.fix == f"Add {{name: {name}, path: {path}}} to data."

    def test_the_sentence_says_what_the_container_has(self) -> None:
        (told,) = missing(at("leonardo-booster", workingDir=CODE))
        assert told.message == (
            f"The container doesn't show {CODE}, unless the site's configuration does: of the site's storage it "
            "has the run's directory and what data names."
        )

    def test_a_directory_is_told_once_and_so_is_all_below_it(self) -> None:
        env = [{"name": "A", "value": CODE}, {"name": "B", "value": f"{WORK}/hf"}]
        command = ["python", f"{CODE}/train.py", "--config", f"{CODE}/configs/7b.yaml"]
        assert fields(workingDir=CODE, command=command, env=env) == ["spec.workingDir", "spec.env[1]"]

    def test_two_of_one_name_get_another_one_each(self) -> None:
        env = [{"name": "A", "value": CODE}, {"name": "B", "value": f"{WORK}/v2/code"}]
        told = missing(at("leonardo-booster", env=env, data=[{"name": "code", "path": f"{WORK}/v1/code"}]))
        assert [each.fix.split(",")[0] for each in told] == ["Add {name: code-2", "Add {name: code-3"]

    def test_outputs_belong_in_the_run_s_directory(self) -> None:
        to = {"s3": {"url": "s3://bucket/out/", "secretRef": {"name": "store"}}}
        paths = ("results", f"{WORK}/results", f"{CODE}/out", "/tmp/out")  # noqa: S108 -- a name
        outputs = [{"name": f"o{place}", "path": path, "destination": to} for place, path in enumerate(paths)]
        told = at("leonardo-booster", workingDir=None, outputs=outputs, data=[{"name": "code", "path": CODE}])

        own, elsewhere = [each for each in told if each.field.startswith("spec.outputs")]
        assert (own.id, own.severity, own.field) == ("PathNotOnComputeNodes", "warning", "spec.outputs[3].path")
        assert own.message.startswith("Nobody finds /tmp/out after the run, since each node has a /tmp of its own")
        assert (elsewhere.id, elsewhere.field) == ("PathNotInContainer", "spec.outputs[1].path")
        assert own.fix == elsewhere.fix
        assert "$PASSERELLE_RUN_DIR/results" in own.fix

    def test_a_directory_of_the_same_beginning_is_another(self) -> None:
        data = [{"name": "code", "path": CODE}]
        assert fields(workingDir=f"{CODE}-2", data=data) == ["spec.workingDir"]

    @pytest.mark.parametrize("profile,image", [("deucalion-gpu", "/x/t.sqsh"), ("alps-clariden", "/x/t.sqsh")])
    def test_container_engines_show_no_more(self, profile: str, image: str) -> None:
        where = {"deucalion-gpu": "/projects/f2026/code", "alps-clariden": "/capstor/store/cscs/g123/code"}[profile]
        told = at(profile, accounts=("f2026g",), image=image, workingDir=where)
        assert [each.field for each in missing(told)] == ["spec.workingDir"]


class TestWhatIsShown:
    @pytest.mark.parametrize(
        "spec",
        [
            {"workingDir": "/workspace"},
            {"workingDir": "/tmp"},  # noqa: S108 -- a name
            {"workingDir": f"{CODE}/llm", "data": [{"name": "code", "path": f"{CODE}/"}]},
            {"command": ["python", f"{CODE}/train.py"], "data": [{"name": "t", "path": f"{CODE}/train.py"}]},
            {"args": [f"{CODE}/$RUN/x"], "data": [{"name": "one", "path": f"{CODE}/one"}]},
            {
                "workingDir": CODE,
                "data": [{"name": "code", "path": f"{CODE}/", "source": SOURCE}],
            },
            {"workingDir": CODE, "files": [{"configMap": "code", "path": CODE}]},
            {"workingDir": CODE, "launcher": "script"},
            {"command": ["python", "-c", "import os", "$WORK/code"]},
            {"args": ["--root", "/leonardo_work"]},
            {"args": ["--root", "/leonardo_work/$ACCOUNT/x"]},
        ],
    )
    def test_nothing_is_said_of_it(self, spec: dict[str, Any]) -> None:
        assert fields(**spec) == []

    def test_of_the_run_root_the_run_s_directory_is_which_a_pattern_may_mean(self) -> None:
        root = f"{WORK}/passerelle/"
        fields = [
            [each.field for each in missing(at("leonardo-booster", run_root=root, args=[f"--from={root}{path}"]))]
            for path in ("models", "psr-abc/checkpoints", "psr-*/checkpoints", "models/*/x")
        ]
        assert fields == [["spec.args"], ["spec.args"], [], ["spec.args"]]

    @pytest.mark.parametrize(
        "runtime,raised",
        [
            ({}, True),
            ({"kind": "none"}, False),
            ({"confidence": "low"}, False),
            ({"modules": ["bindings"]}, False),
            ({"binds": [WORK]}, False),
            ({"binds": ["/"]}, False),
            ({"binds": [f"/other:{WORK}"]}, False),
            ({"binds": [f"/other:{WORK}:ro"]}, False),
            ({"binds": [f"{WORK}:/other"]}, True),
            ({"binds": [f"{CODE}/below"]}, True),
            ({"options": ["--nv", "--bind", f"/opt,{WORK}:{WORK}"]}, False),
            ({"options": [f"--bind={WORK}"]}, False),
            ({"options": ["-B", WORK, "--nv"]}, False),
            ({"options": ["--pwd", WORK]}, True),
        ],
    )
    def test_what_the_profile_shows_is(self, runtime: dict[str, Any], raised: bool) -> None:
        facts = with_runtime(profiles.load("leonardo-booster"), **runtime)
        assert at_profile(facts) == (["spec.workingDir"] if raised else [])

    def test_of_an_environment_file_and_of_an_image_that_is_refused_nobody_knows(self) -> None:
        where = "/capstor/store/cscs/g123/code"
        assert missing(at("alps-clariden", image="/x/train.toml", workingDir=where)) == []
        assert missing(at("alps-clariden", image="/x/train.sif", workingDir=where)) == []

    def test_a_module_that_binds_the_site_s_storage_says_so_itself(self) -> None:
        assert missing(at("lumi-g", workingDir="/project/project_465001234/code")) == []

    def test_a_node_s_own_disk_is_no_data_of_the_site(self) -> None:
        told = [
            missing(at("arrhenius-gpu", workingDir=where)) for where in ("/scratch/local/x", "/nobackup/proj/disk/x")
        ]
        assert [len(each) for each in told] == [0, 1]

    def test_trainers_on_the_nodes_as_they_are_see_all(self) -> None:
        assert missing(at("sandbox-bare", workingDir="/scratch/code")) == []


class TestOtherFindings:
    """What must be found another place is no matter of the container yet."""

    def test_the_working_directory_is_a_path_like_others(self) -> None:
        elsewhere = said(at("jupiter-booster", workingDir="/p/project1/x/code"))
        at_home = said(at("leonardo-booster", workingDir="/leonardo/home/userexternal/jsmith/code"))

        assert elsewhere == {("PathNotOnComputeNodes", "spec.workingDir")}
        assert at_home == {("PathInHome", "spec.workingDir")}

    def test_a_field_of_which_they_tell_is_left_to_them(self) -> None:
        words = ["/p/scratch/x/corpus", "/e/project1/x/models"]
        assert said(at("jupiter-booster", args=words)) == {("PathNotOnComputeNodes", "spec.args")}
