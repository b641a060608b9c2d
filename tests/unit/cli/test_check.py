"""`passerelle check`: where it looks, what it prints, and its exit code."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from mistakes.corpus import NAMESPACE, mistakes
from passerelle import profiles
from passerelle.cli import main

DIE = next(case for case in mistakes() if case.name.startswith("28"))
QOS = next(case for case in mistakes() if case.name.startswith("64"))
FINE = {
    "apiVersion": "passerelle.dev/v1alpha1",
    "kind": "TrainingJob",
    "metadata": {"name": "fine", "namespace": NAMESPACE},
    "spec": {
        "site": "sandbox",
        "image": "/scratch/images/train.sif",
        "command": ["python", "/workspace/train.py"],
        "gpus": 8,
        "timeLimit": "30m",
    },
}

EXAMPLES = Path(__file__).parents[3] / "examples"
COPIED = {"s3": {"url": "s3://bucket/a/", "secretRef": {"name": "s3"}}}


def check(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["check", *map(str, words)])
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    return int(ended.value.code or 0), told.out, told.err


def file(folder: Path, *documents: object, name: str = "job.yaml") -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump_all(documents), encoding="utf-8")
    return path


def job(case: Any) -> dict[str, Any]:
    found: dict[str, Any] = case.manifest | {"metadata": {"name": "llm", "namespace": NAMESPACE}}
    return found


def site(case: Any, name: str | None = None) -> dict[str, Any]:
    spec = case.site.spec().model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
    manifest = {
        "apiVersion": "passerelle.dev/v1alpha1",
        "kind": "Site",
        "metadata": {"name": name or case.spec["site"]},
    }
    return manifest | {"spec": spec}


def test_warnings_are_printed_and_are_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = check(capsys, file(tmp_path, job(DIE)), "--profile", "lumi-g")

    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "llm at lumi-g: 2 warnings"
    assert lines[1] == "  warning  GpuMeansDie  spec.gpusPerNode"
    assert lines[2].endswith("32 GPU-hours for nothing. Leave gpusPerNode out.")
    assert "  info     Price  spec.timeLimit" in lines


def test_an_error_is_exit_code_1_and_patches_are_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = check(capsys, file(tmp_path, job(QOS), site(QOS)), "--format", "json")

    assert code == 1
    (told,) = json.loads(out)
    assert (told["trainingJob"], told["site"], told["profile"]) == (
        {"namespace": NAMESPACE, "name": "llm"},
        "leonardo",
        "leonardo-booster",
    )
    assert told["findings"][0] | {"message": "", "fix": ""} == {
        "id": "QosTooSmall",
        "severity": "error",
        "field": "spec.qos",
        "message": "",
        "fix": "",
        "patch": [{"op": "add", "path": "/spec/qos", "value": "boost_qos_bprod"}],
        "cost": None,
    }


def test_the_admission_of_a_site_counts_and_that_of_a_machine_does_not_exist(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nobody = site(QOS)
    nobody["spec"]["admission"] = [{"namespaces": ["others"]}]
    manifest = file(tmp_path, job(QOS))
    beside = file(tmp_path, nobody, name="site.yaml")

    code, out, _ = check(capsys, manifest, "--site-file", beside)
    assert (code, "NamespaceNotAdmitted" in out) == (1, True)
    code, out, _ = check(capsys, manifest, "--profile", "leonardo-booster")
    assert (code, out.splitlines()[0]) == (0, "llm at leonardo-booster: nothing to change")


def test_all_sites_are_those_of_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = file(tmp_path, job(QOS), site(QOS), site(DIE))

    _, out, _ = check(capsys, both, "--all-sites", "--format", "json")
    assert [each["site"] for each in json.loads(out)] == ["leonardo", "lumi"]
    _, out, _ = check(capsys, both, "--site", "lumi", "--format", "json")
    assert [each["site"] for each in json.loads(out)] == ["lumi"]


def test_all_sites_are_all_machines_where_the_files_hold_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = check(capsys, file(tmp_path, FINE), "--all-sites", "--format", "json")

    machines = [each for each in profiles.names() if not each.startswith("sandbox")]
    assert [each["site"] for each in json.loads(out)] == machines


def test_every_trainingjob_of_a_file_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    second = FINE | {"metadata": {"name": "second", "namespace": NAMESPACE}}
    manifest = file(tmp_path, FINE, second)

    code, out, _ = check(capsys, manifest)
    assert code == 0
    assert [line.split(" at ")[0] for line in out.splitlines() if " at sandbox" in line] == ["fine", "second"]
    _, out, _ = check(capsys, manifest, "--name", "second")
    assert out == "second at sandbox: nothing to change\n"


@pytest.mark.parametrize(
    "words,said",
    [
        (("--site", "nowhere"), "There is no profile 'nowhere'"),
        (("--site", "sandbox", "--all-sites"), "Write one of --site, --all-sites and --profile."),
        (("--name", "none"), "holds no TrainingJob none; it holds fine"),
    ],
)
def test_bad_input_is_exit_code_2(
    words: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = check(capsys, file(tmp_path, FINE), *words)

    assert code == 2
    assert said in err


@pytest.mark.parametrize("words", [("--profile", "lumi"), ("--site", "lumi")])
def test_the_beginning_of_a_machines_name_is_enough(
    words: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = check(capsys, file(tmp_path, job(DIE)), *words, "--format", "json")

    assert (code, [each["profile"] for each in json.loads(out)]) == (0, ["lumi-g"])


@pytest.mark.parametrize(
    "name,said", [("lumi-gg", "There is no profile 'lumi-gg'"), ("alps", "Several profiles begin")]
)
def test_a_mistyped_machine_is_told_as_by_all_commands(
    name: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = check(capsys, file(tmp_path, FINE), "--profile", name)

    assert (code, said in err) == (2, True)


def test_what_only_a_site_tells_is_said_to_be_unchecked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest, beside = file(tmp_path, job(QOS)), file(tmp_path, site(QOS), name="site.yaml")

    _, out, err = check(capsys, manifest, "--profile", "leonardo-booster", "--format", "json")
    assert len(json.loads(out)) == 1
    assert err == (
        "note: No Site was given, so account, QoS and run root were not checked; name a file with it as --site-file.\n"
    )
    _, _, err = check(capsys, manifest, "--all-sites", "--format", "json")
    assert err.count("No Site was given") == 1
    _, _, err = check(capsys, manifest, "--site-file", beside)
    assert err == ""


def test_files_are_taken_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = job(QOS)
    manifest["spec"] = manifest["spec"] | {"files": [{"configMap": "code", "path": "/workspace"}]}
    config_map = {"kind": "ConfigMap", "metadata": {"name": "code", "namespace": NAMESPACE}, "data": {"a": "b"}}
    paths = [
        file(tmp_path, each, name=f"{number}.yaml") for number, each in enumerate([manifest, site(QOS), config_map])
    ]

    code, out, err = check(capsys, *paths)
    assert (code, out.splitlines()[0].partition(":")[0], err) == (1, "llm at leonardo (leonardo-booster)", "")
    _, _, err = check(capsys, *paths[:2])
    assert err == (
        "note: TrainingJob llm: what no file holds was not checked: ConfigMap code; name their files, too.\n"
    )


def test_standard_input_is_read_once(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = check(capsys, "-", "-")

    assert (code, err) == (2, "passerelle: Standard input can be read once; write - for one file alone.\n")


def test_a_file_without_a_trainingjob_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = check(capsys, file(tmp_path, site(DIE)))

    assert (code, "no TrainingJob" in err) == (2, True)


@pytest.mark.parametrize("profile", profiles.names())
def test_what_init_writes_passes(profile: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kinds = {each.kind for each in profiles.load(profile).runtimes}
    image = "/project/train.sqsh" if kinds == {"edf"} else "/project/train.sif"
    written = tmp_path / "trainingjob.yaml"
    with pytest.raises(SystemExit) as ended:
        main(["init", str(written), "--yes", "--site", profile, "--image", image])
    assert not ended.value.code, capsys.readouterr().err
    capsys.readouterr()

    code, out, _ = check(capsys, written, "--profile", profile)

    assert code == 0, out


def test_init_writes_nothing_that_fails_a_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = tmp_path / "trainingjob.yaml"
    with pytest.raises(SystemExit) as ended:
        main(["init", str(written), "--yes", "--site", "lumi-g", "--image", "nvidia/cuda:12.8"])

    assert ended.value.code == 2
    assert "Write an image that is built for ROCm." in capsys.readouterr().err
    assert not written.exists()


def test_a_configmap_that_the_file_lacks_is_none_of_its_business(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = FINE | {"spec": FINE["spec"] | {"files": [{"configMap": "code", "path": "/workspace"}]}}  # type: ignore[operator]
    config_map = {"kind": "ConfigMap", "metadata": {"name": "code", "namespace": NAMESPACE}}
    large = config_map | {"binaryData": {"big.bin": base64.b64encode(random.Random(1).randbytes(100_000)).decode()}}  # noqa: S311 - any bytes that can't be packed

    code, out, _ = check(capsys, file(tmp_path, manifest))
    assert (code, out) == (0, "fine at sandbox: nothing to change\n")
    code, out, _ = check(capsys, file(tmp_path, manifest, large))
    assert (code, out) == (0, "fine at sandbox: nothing to change\n")  # of a machine nobody knows the door
    code, out, _ = check(capsys, file(tmp_path, manifest, large, sandbox("slurmrestd")))
    assert (code, "NeedsFiles  spec.files" in out) == (1, True)
    code, out, _ = check(capsys, file(tmp_path, manifest, large, sandbox("ssh")))
    assert (code, "NeedsFiles" in out) == (0, False)


def sandbox(driver: str) -> dict[str, Any]:
    url = "ssh://login.example" if driver == "ssh" else "https://site.example"
    spec = {
        "profile": "sandbox",
        "gateway": {"driver": driver, "url": url, "credentials": {"name": "site"}},
        "runRoot": "/scratch/runs",
        "admission": [{"namespaces": [NAMESPACE], "accounts": ["project1"]}],
    }
    metadata = {"name": "sandbox"}
    return {"apiVersion": "passerelle.dev/v1alpha1", "kind": "Site", "metadata": metadata, "spec": spec}


def test_secrets_are_checked_where_a_file_holds_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = FINE | {"spec": FINE["spec"] | {"envFrom": [{"secretRef": {"name": "hub"}}]}}  # type: ignore[operator]
    hub = {"kind": "Secret", "metadata": {"name": "hub", "namespace": NAMESPACE}, "stringData": {"a-b": "c4n4ry"}}

    code, out, err = check(capsys, file(tmp_path, manifest, sandbox("ssh")))
    assert (code, out) == (0, "fine at sandbox: nothing to change\n")
    assert err == "note: TrainingJob fine: what no file holds was not checked: Secret hub; name their files, too.\n"

    code, out, err = check(capsys, file(tmp_path, manifest, sandbox("ssh"), hub))
    assert (code, err) == (0, "")
    assert "VariableNameInvalid  spec.envFrom" in out
    assert "a-b of Secret hub" in out
    assert "c4n4ry" not in out

    code, out, _ = check(capsys, file(tmp_path, manifest, sandbox("slurmrestd"), hub))
    assert (code, "NeedsFiles" in out) == (1, True)


@pytest.mark.parametrize(
    "asked, field",
    [
        ({"files": [{"secret": "hub", "path": "/keys"}]}, "spec.files[0]"),
        ({"env": [{"name": "T", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "t"}}}]}, "spec.env[0]"),
        ({"data": [{"name": "a", "path": "/scratch/a", "source": COPIED}]}, "spec.data"),
        ({"outputs": [{"name": "a", "path": "final", "destination": COPIED}]}, "spec.outputs"),
    ],
)
def test_what_the_gateway_can_not_carry_is_refused_as_by_the_operator(
    asked: dict[str, Any], field: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = FINE | {"spec": FINE["spec"] | asked}  # type: ignore[operator]

    code, out, _ = check(capsys, file(tmp_path, manifest, sandbox("slurmrestd")))
    assert code == 1
    assert f"NeedsFiles  {field}\n" in out
    code, out, _ = check(capsys, file(tmp_path, manifest, sandbox("ssh")))
    assert (code, "NeedsFiles" in out) == (0, False)
    code, out, _ = check(capsys, file(tmp_path, manifest), "--profile", "sandbox")
    assert (code, "NeedsFiles" in out) == (0, False)  # of a machine nobody knows the door


@pytest.mark.parametrize("words", [("--profile", "sandbox"), ()])
def test_copies_that_meet_are_refused_as_by_the_operator(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = [{"name": name, "path": "/scratch/a", "source": COPIED} for name in ("one", "two")]
    manifest = FINE | {"spec": FINE["spec"] | {"data": data}}  # type: ignore[operator]

    code, out, _ = check(capsys, file(tmp_path, manifest, sandbox("ssh")), *words)

    assert (code, "CopiesOverlap  spec.data\n" in out) == (1, True)


def test_the_staging_example_passes_at_its_site(capsys: pytest.CaptureFixture[str]) -> None:
    folder = EXAMPLES / "staging"
    files = [folder / f"{name}.yaml" for name in ("trainingjob", "site", "secret")]

    code, out, err = check(capsys, *files)

    assert (code, err) == (0, "")
    assert out.startswith("from-the-store at karolina (karolina-gpu): nothing to change\n"), out


@pytest.mark.parametrize("profile", ["jupiter-booster", "meluxina-gpu", "karolina-gpu"])
def test_the_quickstart_passes_at_a_machine_of_its_reader(
    profile: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = EXAMPLES / "quickstart"
    site = yaml.safe_load((folder / "site.yaml").read_text(encoding="utf-8"))
    site["spec"]["profile"] = profile

    code, out, _ = check(capsys, folder / "trainingjob.yaml", file(tmp_path, site, name="site.yaml"))

    assert code == 0, out
