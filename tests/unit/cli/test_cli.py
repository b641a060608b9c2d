"""The command line: what it prints, where, and with which exit code."""

from __future__ import annotations

import base64
import io
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from passerelle import profiles
from passerelle.cli import main
from passerelle.cli.importing import Kind
from passerelle.imports import KINDS
from passerelle.launch import LAUNCHERS
from plans import image_for

EXAMPLES = Path(__file__).parents[3] / "examples" / "quickstart"
CHANGE_ME = "profile: change-me"
FIXTURES = Path(__file__).parents[1] / "imports" / "fixtures"
JOB = {
    "apiVersion": "passerelle.dev/v1alpha1",
    "kind": "TrainingJob",
    "metadata": {"name": "llm", "namespace": "team-a"},
    "spec": {
        "site": "sandbox",
        "image": "/scratch/images/train.sif",
        "command": ["python", "train.py"],
        "gpus": 8,
        "timeLimit": "30m",
        "account": "project1",
    },
}
CONFIG_MAP = {"kind": "ConfigMap", "metadata": {"name": "code", "namespace": "team-a"}, "data": {"train.py": "pass\n"}}


class Said:
    """What a command wrote, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    def command(*words: object, stdin: str | None = None) -> Said:
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        code = ended.value.code
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        return Said(code if isinstance(code, int) else 0, told.out, told.err)

    return command


def job(**changes: Any) -> dict[str, Any]:
    return JOB | {"spec": JOB["spec"] | changes}  # type: ignore[operator]  # a mapping, as it stands above


def file(folder: Path, *documents: object) -> Path:
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump_all(documents), encoding="utf-8")
    return path


def test_the_version_is_the_package_s(run: Any) -> None:
    said = run("--version")

    assert (said.code, said.out.split()[0]) == (0, "passerelle")
    assert said.out.split()[1][0].isdigit()


def test_help_names_every_command_and_the_exit_codes(run: Any) -> None:
    said = run("--help")

    assert said.code == 0
    assert [word for word in ("init", "import", "render", "sites", "Exit codes") if word not in said.out] == []


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "passerelle", "render", "/nowhere.yaml"], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "passerelle: /nowhere.yaml can't be read: No such file or directory.\n"


def test_an_unknown_option_is_bad_input(run: Any) -> None:
    assert run("render", "--nonsense").code == 2


def test_kinds_are_those_of_imports() -> None:
    assert {kind.value for kind in Kind} == {"auto", *KINDS}


class TestRender:
    def test_a_job_whose_site_is_called_like_a_profile_needs_nothing_more(self, run: Any, tmp_path: Path) -> None:
        said = run("render", file(tmp_path, JOB))

        assert (said.code, said.err) == (0, "")
        assert said.out.startswith("#!/bin/bash\n# Attempt 1 of TrainingJob team-a/llm, written by Passerelle.\n")
        assert '"nodes": 2, "payload": null, "progressPeriod": 60, ' in said.out
        assert '"tasks": 8, "tasksPerNode": 4,' in said.out

    def test_secrets_are_named_and_never_shown(self, run: Any, tmp_path: Path) -> None:
        asked = job(
            files=[{"configMap": "code", "path": "/w"}, {"secret": "hub", "path": "/keys"}],
            envFrom=[{"secretRef": {"name": "hub"}}],
        )
        code = {"kind": "ConfigMap", "metadata": {"name": "code", "namespace": "team-a"}, "data": {"a": "b"}}
        hub = {
            "kind": "Secret",
            "metadata": {"name": "hub", "namespace": "team-a"},
            "stringData": {"HF_TOKEN": "c4n4ry"},
            "data": {"OTHER": "YzRuNHJ5"},
        }

        for manifests in ([asked, code, hub], [asked, code]):
            said = run("render", file(tmp_path, *manifests))
            assert said.code == 0
            assert said.err.startswith("note: What comes of Secrets travels beside the script, to /RUN-ROOT/psr-")
            assert "c4n4ry" not in said.out + said.err
            assert "YzRuNHJ5" not in said.out + said.err
            assert "HF_TOKEN" not in said.out

    @pytest.mark.parametrize(
        "wrong", [{"data": ["c4n4ry"]}, {"data": {"A": "c4n4ry*"}}, {"stringData": "c4n4ry"}, {"data": {"A": 7}}]
    )
    def test_a_secret_that_can_t_be_read_is_not_shown_either(
        self, run: Any, tmp_path: Path, wrong: dict[str, Any]
    ) -> None:
        hub = {"kind": "Secret", "metadata": {"name": "hub", "namespace": "team-a"}} | wrong

        said = run("render", file(tmp_path, JOB, hub))

        assert said.code == 2
        assert said.err.startswith("passerelle: Secret hub: ")
        assert "c4n4ry" not in said.err

    def test_files_that_do_not_fit_are_told_to_travel_beside_the_script(self, run: Any, tmp_path: Path) -> None:
        asked = job(files=[{"configMap": "code", "path": "/w"}])
        data = base64.b64encode(random.Random(1).randbytes(100_000)).decode()  # noqa: S311 -- no secret
        code = {"kind": "ConfigMap", "metadata": {"name": "code", "namespace": "team-a"}, "binaryData": {"a": data}}

        said = run("render", file(tmp_path, asked, code))

        assert said.code == 0
        assert said.err.startswith("note: The files don't fit into the script; they travel beside it, to /RUN-ROOT/")
        assert len(said.out) < 65_536

    def test_options_are_json(self, run: Any, tmp_path: Path) -> None:
        told = json.loads(run("render", file(tmp_path, JOB), "--format", "options").out)

        assert {key: told["options"][key] for key in ("account", "nodes", "gpus_per_node", "time_limit_minutes")} == {
            "account": "project1",
            "nodes": 2,
            "gpus_per_node": 4,
            "time_limit_minutes": 30,
        }
        assert told["environment"]["LANG"] == "C.UTF-8"

    def test_sbatch_is_one_script_with_options_in_front_of_the_first_command(self, run: Any, tmp_path: Path) -> None:
        path = tmp_path / "job.sh"
        path.write_text(run("render", file(tmp_path, JOB), "--format", "sbatch").out, encoding="utf-8")
        first, *rest = path.read_text(encoding="utf-8").splitlines()
        header = [line for line in rest if line.startswith("#SBATCH ")]

        assert first == "#!/bin/bash"
        assert rest[: len(header)] == header
        assert {"#SBATCH --nodes=2", "#SBATCH --account=project1", "#SBATCH --time=30"} <= set(header)
        assert "export LANG=C.UTF-8" in rest
        assert subprocess.run(["bash", "-n", path], check=False).returncode == 0

    def test_a_profile_takes_the_place_of_a_site(self, run: Any, tmp_path: Path) -> None:
        told = json.loads(
            run("render", file(tmp_path, job(site="ours")), "--profile", "lumi-g", "--format", "options").out
        )

        assert (told["options"]["partition"], told["options"]["gpus_per_node"]) == ("standard-g", 8)

    def test_the_quickstart_is_rendered_from_one_stream(self, run: Any) -> None:
        stream = "---\n".join(
            (EXAMPLES / name).read_text(encoding="utf-8")
            for name in ("site.yaml", "namespace.yaml", "trainingjob.yaml")
        )
        assert CHANGE_ME in stream
        said = run("render", "-", stdin=stream.replace(CHANGE_ME, "profile: sandbox"))

        assert (said.code, said.err) == (0, "")
        assert "run=/scratch/project_465001234/passerelle/psr-" in said.out

    def test_a_site_file_stands_beside(self, run: Any, tmp_path: Path) -> None:
        written = (EXAMPLES / "site.yaml").read_text(encoding="utf-8")
        beside = tmp_path / "site.yaml"
        beside.write_text(written.replace(CHANGE_ME, "profile: sandbox"), encoding="utf-8")
        said = run("render", EXAMPLES / "trainingjob.yaml", "--site-file", beside)

        assert (said.code, said.err) == (0, "")

    def test_the_quickstart_as_it_stands_asks_for_the_machine(self, run: Any) -> None:
        for command in ("render", "check"):
            said = run(command, EXAMPLES / "trainingjob.yaml", "--site-file", EXAMPLES / "site.yaml")

            assert said.code == 2
            assert said.err.startswith("passerelle: There is no profile 'change-me'; write one of alps-clariden, ")

    def test_a_site_s_selector_reads_the_namespace_s_labels(self, run: Any, tmp_path: Path) -> None:
        site = yaml.safe_load((EXAMPLES / "site.yaml").read_text(encoding="utf-8"))
        site["metadata"]["name"] = site["spec"]["profile"] = "sandbox"
        site["spec"]["admission"] = [{"selector": {"tier": "gold"}, "accounts": ["project1"]}]
        namespace = {"kind": "Namespace", "metadata": {"name": "team-a", "labels": {"tier": "gold"}}}

        assert run("render", file(tmp_path, site, namespace, JOB)).code == 0
        assert "does not admit namespace team-a" in run("render", file(tmp_path, site, JOB)).err

    def test_config_maps_of_the_file_travel_in_the_script(self, run: Any, tmp_path: Path) -> None:
        asked = job(files=[{"configMap": "code", "path": "/workspace"}])

        assert "cGFzcwo=" in run("render", file(tmp_path, asked, CONFIG_MAP)).out

    def test_one_of_several_jobs_is_chosen_by_name(self, run: Any, tmp_path: Path) -> None:
        other = job() | {"metadata": {"name": "other"}}
        path = file(tmp_path, JOB, other)

        assert "TrainingJob default/other" in run("render", path, "--name", "other").out
        assert (
            run("render", path).err
            == "passerelle: The file holds 2 TrainingJobs (llm, other); choose one with --name.\n"
        )
        assert run("render", path, "--name", "none").err.startswith("passerelle: The file holds no TrainingJob none;")

    @pytest.mark.parametrize(
        "documents, sentence",
        [
            ([job(gpus=7)], "gpus: 7 can't be had"),
            ([job(timeLimit="99h")], "timeLimit 99h is longer than"),
            ([job(timeLimit="1d")], "TrainingJob llm: spec.timeLimit:"),
            ([job(gpuPerNode=4)], "TrainingJob llm: spec.gpuPerNode is no field; write gpusPerNode."),
            ([job(env=[{"name": "A", "vlaue": "1"}])], "TrainingJob llm: spec.env[0].vlaue is no field; write value."),
            (
                [job(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}])],
                "TrainingJob llm: spec.env[0].valueFrom.fieldRef is no field; there is no Pod; write value.",
            ),
            ([job(resources={})], "TrainingJob llm: spec.resources is no field; write gpus."),
            ([job(memory=64)], 'TrainingJob llm: spec.memory: write text, in quotes: "64"'),
            (
                [job(command=["python", "a.py", "-n", 64, True])],
                'TrainingJob llm: spec.command[3]: write text, in quotes: "64"; spec.command[4]: write text,',
            ),
            ([job(gpus="many")], "TrainingJob llm: spec.gpus: write a whole number"),
            ([job(site="nowhere")], "Site nowhere is not in the file;"),
            (
                [job(files=[{"configMap": "code", "path": "/w"}])],
                "ConfigMap code in namespace team-a is not in the file;",
            ),
            ([JOB | {"apiVersion": "passerelle.dev/v1"}], "TrainingJob: apiVersion passerelle.dev/v1 is unknown;"),
            ([JOB | {"apiVersion": "v1"}], "A TrainingJob of the file has apiVersion 'v1';"),
            ([JOB | {"metadata": {}}], "A TrainingJob of the file has no name;"),
            ([JOB | {"spec": 5}], "'5' stands where a mapping of fields is expected."),
            ([JOB | {"spec": None}], "TrainingJob llm: spec.site is missing; write it"),
            ([job(gpus="8")], "TrainingJob llm: spec.gpus: write a whole number, without quotes."),
            ([job(gpus=True)], "TrainingJob llm: spec.gpus: write a whole number, without quotes."),
            ([job(retry={"maxAttempts": "3"})], "TrainingJob llm: spec.retry.maxAttempts: write a whole"),
            ([job(suspend="yes")], "TrainingJob llm: spec.suspend: write true or false, without quotes."),
            ([job(gpus=0)], "TrainingJob llm: spec.gpus: write at least 1"),
            ([job(timeLimit=3600)], "TrainingJob llm: spec.timeLimit: write hours, minutes and seconds, like 12h"),
            ([CONFIG_MAP], "The file holds no TrainingJob;"),
            (["hello"], "The file holds a document without a kind;"),
        ],
    )
    def test_what_the_user_must_change_is_one_sentence(
        self, run: Any, tmp_path: Path, documents: list[object], sentence: str
    ) -> None:
        said = run("render", file(tmp_path, *documents))

        assert (said.code, said.out) == (2, "")
        assert said.err.startswith(f"passerelle: {sentence}")
        assert said.err.count("\n") == 1

    def test_flags_that_exclude_each_other_are_refused(self, run: Any) -> None:
        path = EXAMPLES / "trainingjob.yaml"

        assert run("render", path, "--site-file", path, "--profile", "sandbox").err.startswith(
            "passerelle: Write either"
        )
        assert "holds no Site" in run("render", path, "--site-file", path).err
        assert "There is no profile 'x'" in run("render", path, "--profile", "x").err

    def test_a_file_that_is_no_text_is_refused(self, run: Any, tmp_path: Path) -> None:
        path = tmp_path / "train.sif"
        path.write_bytes(b"\x7fELF\xff\xfe")

        assert run("render", path).err == f"passerelle: {path} is no UTF-8 text; name a manifest or a script.\n"
        assert run("render", tmp_path).code == 2


class TestNames:
    def test_a_beginning_is_enough_where_one_machine_has_it(self, run: Any, tmp_path: Path) -> None:
        path = file(tmp_path, job(site="ours"))
        short = run("render", path, "--profile", "lumi")

        assert (short.code, short.out) == (0, run("render", path, "--profile", "lumi-g").out)
        assert run("render", file(tmp_path, job(site="lumi"))).code == 0
        assert run("sites", "show", "lumi").out == run("sites", "show", "lumi-g").out
        assert run("sites", "diff", "lumi", "lumi-g").out == "Nothing differs.\n"

    def test_a_beginning_of_several_is_refused_with_their_names(self, run: Any) -> None:
        said = run("sites", "show", "alps")

        assert (said.code, said.out) == (2, "")
        assert "write one of alps-clariden, alps-daint." in said.err
        assert run("sites", "show", "lum").err.startswith("passerelle: There is no profile 'lum';")


class TestImport:
    def test_the_manifest_goes_out_and_the_notes_go_to_standard_error_too(self, run: Any) -> None:
        said = run("import", FIXTURES / "pytorchjob-plain.yaml", "--site", "lumi")

        assert said.code == 0
        assert yaml.safe_load(said.out)["spec"]["site"] == "lumi"
        assert said.out.startswith("# From PyTorchJob pytorch-dist-mnist. Look at these before you apply it:\n# - ")
        assert len(said.err.splitlines()) == said.out.count("\n# - ")
        assert all(line.startswith("note: ") for line in said.err.splitlines())

    def test_two_trainings_are_two_documents(self, run: Any) -> None:
        both = "---\n".join((FIXTURES / name).read_text() for name in ("job-single.yaml", "pytorchjob-plain.yaml"))
        said = run("import", "-", stdin=both)

        assert [each["metadata"]["name"] for each in yaml.safe_load_all(said.out)] == ["finetune", "pytorch-dist-mnist"]

    def test_of_an_address_with_a_login_notes_show_the_host(self, run: Any) -> None:
        document = yaml.safe_load((FIXTURES / "pytorchjob-plain.yaml").read_text(encoding="utf-8"))
        for replica in document["spec"]["pytorchReplicaSpecs"].values():
            replica["template"]["spec"]["containers"][0]["image"] = "https://jane@example.eu/hidden/x"
        said = run("import", "-", stdin=yaml.safe_dump(document))

        notes = said.err + "".join(line for line in said.out.splitlines() if line.startswith("#"))
        assert notes.count("image https://example.eu ") == 2
        assert "jane" not in notes
        assert "hidden" not in notes

    def test_a_kind_can_be_named(self, run: Any, tmp_path: Path) -> None:
        path = tmp_path / "run"
        path.write_text("python train.py\n")

        assert "no manifest" in run("import", path).err
        assert yaml.safe_load(run("import", path, "--kind", "sbatch").out)["spec"]["command"] == ["python", "train.py"]
        assert run("import", path, "--kind", "nonsense").code == 2

    def test_bad_input_is_one_sentence(self, run: Any) -> None:
        said = run("import", EXAMPLES / "trainingjob.yaml")

        assert (said.code, said.out) == (2, "")
        assert said.err == "passerelle: The file holds a TrainingJob already: nothing is to be imported.\n"


class TestInit:
    @pytest.mark.parametrize("profile", profiles.names())
    @pytest.mark.parametrize("launcher", LAUNCHERS)
    def test_what_is_written_can_be_rendered_for_every_machine(
        self, run: Any, tmp_path: Path, profile: str, launcher: str
    ) -> None:
        path = tmp_path / "job.yaml"
        words = ["--yes", "--site", profile, "--image", image_for(profiles.load(profile)), "--launcher", launcher]

        assert run("init", path, *words).code == 0
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert told["spec"]["command"] == ["python", "/workspace/train.py"]
        assert ("files" in told["spec"]) == (profile != "sandbox-bare" or launcher == "script")
        brought = {"kind": "ConfigMap", "metadata": {"name": "first-run"}, "data": {"train.py": "pass\n"}}
        assert run("render", file(tmp_path, told, brought)).code == 0

    def test_flags_stand_in_the_manifest(self, run: Any) -> None:
        words = "--yes --name a --namespace b --site lumi --image /i.sif --gpus 16 --time-limit 2h --account c --qos d"
        said = run("init", "-", *words.split(), "--command", "python 'my train.py'")

        assert yaml.safe_load(said.out) == {
            "apiVersion": "passerelle.dev/v1alpha1",
            "kind": "TrainingJob",
            "metadata": {"name": "a", "namespace": "b"},
            "spec": {
                "site": "lumi",
                "image": "/i.sif",
                "command": ["python", "my train.py"],
                "gpus": 16,
                "timeLimit": "2h",
                "account": "c",
                "qos": "d",
            },
        }

    def test_it_asks_for_what_is_not_given_and_offers_defaults(self, run: Any) -> None:
        answers = "\n\nalps\nalps-daint\n/i.sqsh\n\n\n8\n\n"  # an empty line takes the default
        said = run("init", "-", stdin=answers)

        assert said.code == 0, said.err
        told = yaml.safe_load(said.out)
        assert told["metadata"] == {"name": "first-run", "namespace": "default"}
        assert (told["spec"]["site"], told["spec"]["gpus"]) == ("alps", 8)
        assert "Its machine (alps-clariden, alps-daint)" in said.err

    def test_the_script_comes_by_a_config_map_that_is_to_be_made(self, run: Any) -> None:
        words = ["--yes", "--name", "a", "--namespace", "b", "--site", "lumi", "--image", "/i.sif"]
        said = run("init", "-", *words)

        assert yaml.safe_load(said.out)["spec"]["files"] == [{"configMap": "a", "path": "/workspace"}]
        assert said.err.endswith(": kubectl create configmap -n b a --from-file=train.py\n")
        assert "write an absolute path" in run("init", "-", *words, "--command", "python train.py").err
        assert run("init", "-", *words, "--command", "python /opt/train.py").err == ""

    def test_without_a_namespace_it_says_whose_counts(self, run: Any) -> None:
        words = ["--yes", "--site", "lumi", "--image", "/i.sif", "--command", "python /opt/train.py"]
        said = run("init", "-", *words)

        assert yaml.safe_load(said.out)["metadata"] == {"name": "first-run"}
        assert said.err.startswith("note: No namespace stands in it, so kubectl's counts; write --namespace")

    def test_a_slip_is_told_and_asked_again(self, run: Any) -> None:
        answers = "My_Run\nmine\nA b\nteam\nA b\nlumi\n/i.toml\n/i.sif\n12\ntorchrun\n'\n\n12\nmany\n16\n99h\n2h\n"
        said = run("init", "-", stdin=answers)

        assert said.code == 0, said.err
        told = yaml.safe_load(said.out)
        assert told["metadata"] == {"name": "mine", "namespace": "team"}
        assert [told["spec"][key] for key in ("image", "launcher", "gpus", "timeLimit")] == [
            "/i.sif",
            "torchrun",
            16,
            "2h",
        ]
        for sentence in (
            "small letters",
            "namespace 'A b'",
            "site 'A b'",
            "no launcher '12'",
            "gpus: 12 can't",
            "gpus is 'many'",
            "timeLimit 99h is",
        ):
            assert sentence in said.err

    def test_a_file_that_is_there_is_kept_unless_forced(self, run: Any, tmp_path: Path) -> None:
        path = tmp_path / "job.yaml"
        path.write_text("mine\n")
        words = ["--yes", "--site", "sandbox", "--image", "/i.sif"]

        said = run("init", path, *words)
        assert (said.code, path.read_text()) == (2, "mine\n")
        assert said.err == f"passerelle: {path} is there already; name another file, or write --force.\n"
        assert run("init", path, *words, "--force").code == 0
        assert "kind: TrainingJob" in path.read_text()

    @pytest.mark.parametrize(
        "words, sentence",
        [
            ("--image /i.sif", "--site has no default;"),
            ("--site sandbox", "--image has no default;"),
            ("--site mine --image /i.sif", "The machine of Site mine is not known by its name;"),
            (
                "--site alps --image /i.sif",
                "The machine of Site alps is not known by its name; write --profile with one of",
            ),
            ("--site sandbox --image /i.sif --profile none", "There is no profile 'none';"),
            ("--site sandbox --image /i.sif --launcher none", "There is no launcher 'none';"),
            ("--site sandbox --image /i.sif --name My_Run", "name 'My_Run' is none that Kubernetes takes;"),
            ("--site sandbox --image /i.sif --namespace A", "namespace 'A' is none that Kubernetes takes;"),
            ("--site sandbox --image /i.sif --gpus 7", "gpus: 7 can't be had"),
            ("--site sandbox --image /i.sif --time-limit 1d", "TrainingJob first-run: spec.timeLimit:"),
            ("--site sandbox --image /i.sif --time-limit 99h", "timeLimit 99h is longer"),
            ("--site sandbox --image /i.sif --command '", 'command "\'" has a quote'),
        ],
    )
    def test_nothing_is_written_that_can_t_be_planned(
        self, run: Any, tmp_path: Path, words: str, sentence: str
    ) -> None:
        path = tmp_path / "job.yaml"
        said = run("init", path, "--yes", *words.split())

        assert (said.code, path.exists()) == (2, False)
        assert said.err.startswith(f"passerelle: {sentence}")
        assert said.err.count("\n") == 1
