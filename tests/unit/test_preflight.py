"""Preflight against the corpus: exactly the findings that each manifest deserves, and patches that fix them."""

from __future__ import annotations

import copy
import re
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from mistakes.corpus import Case, Expected, merged, mistakes, odd
from mistakes.told import at, said
from passerelle import preflight as room
from passerelle import profiles
from passerelle.errors import Invalid
from passerelle.preflight import Finding, Id, Operation, preflight
from passerelle.preflight.refusals import FIELDS
from passerelle.preflight.words import read
from passerelle.v1alpha1.trainingjob import TrainingJobSpec

MISTAKES = mistakes()
ODD = odd()
FINDINGS = [(case, each) for case in MISTAKES for each in case.expect]
DOCS = Path(__file__).parents[2] / "docs" / "preflight.md"
SOURCES = Path(room.__file__).parents[1]
PLANNING = (
    "admission",
    "body",
    "brought",
    "container",
    "grace",
    "job_secrets",
    "mounts",
    "parcels",
    "plan",
    "planning",
    "render",
    "routing",
    "staging/entries",
    "sizing",
)
MOST_CALLS = 1000
"""Of Python functions for a job, on average; about a millisecond. Preflight runs in every planning pass."""

each_case = pytest.mark.parametrize("case", MISTAKES, ids=lambda case: case.name)
each_finding = pytest.mark.parametrize(
    "case,expected", FINDINGS, ids=[f"{case.name}-{expected.id}" for case, expected in FINDINGS]
)


def found(case: Case, spec: dict[str, Any] | None = None) -> list[Finding]:
    """What is said of a manifest, but for infos."""
    return [each for each in everything(case, spec) if each.severity != "info"]


def everything(case: Case, spec: dict[str, Any] | None = None) -> tuple[Finding, ...]:
    site = case.site.spec()
    job = TrainingJobSpec.model_validate(case.spec if spec is None else spec)
    return preflight(job, site, profiles.load(site.profile), entry=site.admission[0])


def one(case: Case, expected: Expected) -> Finding:
    (told,) = [each for each in found(case) if (each.id, each.field) == (expected.id, expected.field)]
    return told


def applied(spec: dict[str, Any], patch: tuple[Operation, ...]) -> dict[str, Any]:
    """A JSON Patch applied (RFC 6902); lists that became empty are dropped, as a merge patch writes them."""
    document = {"spec": copy.deepcopy(spec)}
    for operation in patch:
        *parents, last = operation.path.removeprefix("/").split("/")
        target: Any = document
        for part in parents:
            target = target[int(part) if isinstance(target, list) else part]
        key: Any = int(last) if isinstance(target, list) else last
        if operation.op != "add":
            target[key]  # must be there
        if operation.op == "remove":
            del target[key]
        else:
            target[key] = operation.value
    return {name: value for name, value in document["spec"].items() if value != []}


class TestCorpus:
    @each_case
    def test_a_mistake_gets_what_it_deserves_and_nothing_else(self, case: Case) -> None:
        assert sorted((each.id, each.severity, each.field) for each in found(case)) == sorted(
            (each.id, each.severity, each.field) for each in case.expect
        )

    @pytest.mark.parametrize("case", ODD, ids=lambda case: case.name)
    def test_what_looks_odd_and_is_right_gets_nothing_but_its_price(self, case: Case) -> None:
        assert [each.id for each in everything(case) if each.id != "Price"] == []

    @each_finding
    def test_a_patch_is_there_exactly_where_one_thing_was_meant(self, case: Case, expected: Expected) -> None:
        assert bool(one(case, expected).patch) == (expected.fixed is not None)

    @each_finding
    def test_a_patch_fixes_its_finding_and_brings_no_other(self, case: Case, expected: Expected) -> None:
        if expected.fixed is None:
            return
        fixed = applied(case.spec, one(case, expected).patch)

        assert fixed == merged(case.spec, expected.fixed)
        left = [each.id for each in found(case)]
        left.remove(expected.id)
        assert sorted(each.id for each in found(case, fixed)) == sorted(left)

    @each_finding
    def test_hours_that_are_paid_for_nothing_are_told(self, case: Case, expected: Expected) -> None:
        cost = one(case, expected).cost
        assert (cost is not None and cost.amount > 0) == expected.cost

    @each_case
    def test_whoever_reads_it_knows_what_to_write(self, case: Case) -> None:
        for each in everything(case):
            assert re.fullmatch(r"[A-Za-z$/-].*\.", each.message), each
            assert each.id == "Price" or each.fix.endswith((".", "…")) or "write" in each.message.lower(), each
            assert "  " not in str(each)
            assert len(each.message) <= 512
            assert len(each.fix) <= 512

    def test_it_costs_a_planning_pass_nearly_nothing(self) -> None:
        cases = [
            (TrainingJobSpec.model_validate(case.spec), case.site.spec(), profiles.load(case.site.profile))
            for case in MISTAKES
        ]
        assert self._calls(cases) / len(cases) < MOST_CALLS

    def _calls(self, cases: list[Any]) -> int:
        count = 0

        def seen(_frame: object, event: str, _argument: object) -> None:
            nonlocal count
            count += event == "call"

        before = sys.getprofile()
        sys.setprofile(seen)
        try:
            for job, site, facts in cases:
                preflight(job, site, facts, entry=site.admission[0])
        finally:
            sys.setprofile(before)
        return count


class TestCatalogue:
    ROWS = re.findall(r"^\| `(\w+)` \| ([a-z, ]+) \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE)

    def test_the_page_tells_every_id_once(self) -> None:
        assert sorted(name for name, _ in self.ROWS) == sorted({*get_args(Id), *FIELDS})

    def test_the_page_tells_how_bad_each_is(self) -> None:
        told = {name: set(severity.split(", ")) for name, severity in self.ROWS}
        seen = {(each.id, each.severity) for case in [*MISTAKES, *ODD] for each in everything(case)}

        assert {(name, severity) for name, severity in seen if severity not in told[name]} == set()

    def test_every_reason_of_planning_has_a_field(self) -> None:
        text = "".join((SOURCES / f"{name}.py").read_text(encoding="utf-8") for name in PLANNING)
        reasons = set(re.findall(r'(?:reason ?= ?|"(?:account|qos)", )"([A-Za-z]+)"', text)) - {
            "SiteNotFound",
            "SiteInvalid",
            "Defect",
        }
        reasons |= {f"{kind}NotFound" for kind in ("ConfigMap", "Secret")}  # brought.py makes them of the kind

        assert reasons - FIELDS.keys() == set()
        assert FIELDS.keys() - reasons == {"QosTooSmall"}  # what NodesTooMany and TimeLimitTooLong become


class TestRefusals:
    def test_a_refusal_hides_nothing(self) -> None:
        env = [{"name": "HF_TOKEN", "value": "hf_" + "a" * 34}]
        assert said(at("lumi-g", account="other", env=env, image="cuda:12")) >= {
            ("AccountNotAllowed", "spec.account"),
            ("SecretInEnv", "spec.env[0]"),
            ("ImageVendor", "spec.image"),
        }

    def test_a_refusal_that_no_step_has_met_is_told_as_it_stands(self) -> None:
        case = ODD[0]
        site = case.site.spec()
        refused = Invalid("files: two ConfigMaps bring /a/b; give one of them another path.", reason="FilesInvalid")
        job = TrainingJobSpec.model_validate(case.spec)

        told = preflight(job, site, profiles.load(site.profile), entry=site.admission[0], refused=refused)[0]

        assert (told.id, told.severity, told.field) == ("FilesInvalid", "error", "spec.files")
        assert (told.message, told.fix) == (
            "files: two ConfigMaps bring /a/b.",
            "Give one of them another path.",
        )

    def test_a_refusal_that_became_another_finding_is_not_told_twice(self) -> None:
        case = next(each for each in MISTAKES if each.name.startswith("65"))
        site, refused = case.site.spec(), Invalid("too long; write 2h.", reason="TimeLimitTooLong")
        job = TrainingJobSpec.model_validate(case.spec)

        told = preflight(job, site, profiles.load(site.profile), entry=site.admission[0], refused=refused)

        assert [each.id for each in told if each.severity == "error"] == ["QosTooSmall"]

    def test_what_only_a_reservation_takes_says_so(self) -> None:
        told = at("juwels-booster", nodes=400)[0]
        assert told.id == "NodesTooMany"
        assert "reservation" in told.fix
        assert "largebooster" in told.fix
        assert "reservation" not in at("leonardo-booster", nodes=400)[0].fix

    def test_the_partition_of_a_reservation_wants_one(self) -> None:
        asked = ("ReservationRequired", "spec.reservation")
        assert asked in said(at("juwels-booster", partition="largebooster", nodes=400))
        assert asked not in said(at("juwels-booster", nodes=400, reservation="big"))

    def test_nothing_is_proposed_where_two_things_could_be_meant(self) -> None:
        told = at("meluxina-gpu", qos=("test", "default", "short"), timeLimit="1h")[0]
        assert (told.id, told.field, told.patch) == ("TimeLimitTooLong", "spec.timeLimit", ())
        told = at("deucalion-gpu", accounts=("f1x", "f2g", "f3g"))[0]
        assert (told.id, told.patch) == ("AccountSuffix", ())

    def test_no_chain_is_proposed_whose_attempts_would_only_save(self) -> None:
        told = at("discoverer-plus", gpus=8, timeLimit="8h", checkpoint={"grace": "3h"})[0]
        assert (told.id, told.patch) == ("TimeLimitTooLong", ())

    def test_a_chain_is_proposed_only_within_what_may_be_tried(self) -> None:
        chain: dict[str, Any] = {"checkpoint": {"grace": "5m"}, "gpus": 8}
        (told,) = [each for each in at("discoverer-plus", timeLimit="400h", **chain) if each.severity == "error"]
        assert told.patch[1] == Operation("add", "/spec/retry", {"maxAttempts": 100})
        (told,) = [each for each in at("discoverer-plus", timeLimit="401h", **chain) if each.severity == "error"]
        assert told.patch == ()
        told = at("discoverer-plus", timeLimit="8h", retry={"maxAttempts": 1}, **chain)[0]
        assert told.patch[1] == Operation("add", "/spec/retry/maxAttempts", 2)

    def test_without_an_admission_anyone_may_charge_anything(self) -> None:
        case = next(each for each in MISTAKES if each.name.startswith("59"))
        site = case.site.spec()
        job = TrainingJobSpec.model_validate(case.spec)
        assert said(preflight(job, site, profiles.load(site.profile), entry=None)) == set()


class TestKnowledge:
    """What isn't known, or only of low confidence, is passed over."""

    def test_a_purge_that_one_team_has_seen_raises_nothing(self) -> None:
        case = next(each for each in ODD if each.name.startswith("04"))
        site = case.site.spec().model_copy(update={"run_root": "/gpfs/scratch/ehpc123/passerelle"})
        job = TrainingJobSpec.model_validate(case.spec | {"retry": {"maxAttempts": 90}})
        assert said(preflight(job, site, profiles.load(site.profile), entry=site.admission[0])) == set()

    @pytest.mark.parametrize("attempts,raised", [(40, False), (41, True)])
    def test_a_purge_matters_to_a_chain_that_takes_longer(self, attempts: int, raised: bool) -> None:
        told = said(
            at(
                "leonardo-booster",
                run_root="/leonardo_scratch/large/userexternal/jsmith00/runs",
                timeLimit="24h",
                checkpoint={},
                retry={"maxAttempts": attempts},
            )
        )
        assert told == ({("PathPurged", "site.spec.runRoot")} if raised else set())

    def test_a_share_of_cores_that_is_a_guess_is_held_against_nobody(self) -> None:
        threads = [{"name": "OMP_NUM_THREADS", "value": "200"}]
        assert said(at("arrhenius-gpu", env=threads)) == set()
        assert said(at("arrhenius-gpu", env=threads, cpusPerGpu=72)) == {("ThreadsTooMany", "spec.env[0]")}

    @pytest.mark.parametrize("image", ["/mnt/train-x86_64.img", "/mnt/train-amd64-arm64.img", "/mnt/charm64.img"])
    def test_a_name_that_tells_no_other_processor_is_fine(self, image: str) -> None:
        assert said(at("lumi-g", image=image)) == set()

    @pytest.mark.parametrize("used,told", [(4, "GpuMeansDie"), (2, "GpusUnused"), (6, "GpusUnused")])
    def test_half_of_the_dies_are_as_many_as_there_are_cards(self, used: int, told: str) -> None:
        assert said(at("lumi-g", gpusPerNode=used)) == {(told, "spec.gpusPerNode")}

    @pytest.mark.parametrize("time,raised", [("3h59m", False), ("4h", True)])
    def test_a_run_as_long_as_the_longest_is_long(self, time: str, raised: bool) -> None:
        told = said(at("deucalion-gpu", partition="dev-a100-40", accounts=("f1g",), timeLimit=time))
        assert told == ({("CheckpointMissing", "spec.checkpoint")} if raised else set())

    def test_a_limit_of_nodes_times_time_is_known(self) -> None:
        assert said(at("alps-clariden", partition="debug", timeLimit="1h", image="/mnt/train.sqsh")) == set()

    @pytest.mark.parametrize("time,nodes,raised", [("4h", 4, False), ("4h1m", 4, True), ("4h", 5, True)])
    def test_an_unknown_limit_matters_above_what_every_site_takes(self, time: str, nodes: int, raised: bool) -> None:
        told = said(at("vega-gpu", timeLimit=time, nodes=nodes, checkpoint={}))
        assert bool({each for each, _ in told} & {"LimitUnknown"}) == raised


class TestCommands:
    @pytest.mark.parametrize(
        "command,programs",
        [
            (["python", "train.py"], ["python"]),
            (["bash", "-lc", "cd x && VAR=1 exec python t.py | tee log"], ["cd", "python", "tee"]),
            (["bash", "-euo", "pipefail", "-c", "a; b"], ["a", "b"]),
            (["/usr/bin/env", "python", "t.py"], ["/usr/bin/env"]),
            (["bash", "run.sh", "-c", "curl x"], ["bash"]),
            (["bash", "-c", 'python -c "a; pip install b"'], ["python"]),
            (["bash", "-c", "python t.py > log 2>&1 & wait"], ["python", "wait"]),
            (["bash", "-c", "cat <<EOF > f\ncurl x\nEOF\npython t.py"], ["cat", "python"]),
            (["bash", "-c", "if true; then nice -n 10 pip install x; fi # curl"], ["true", "pip", "fi"]),
            (["bash", "-c", "echo it's"], ["echo"]),
            (["x=$(curl u) python t.py"], ["curl", "python"]),
        ],
    )
    def test_a_line_is_cut_where_a_shell_would(self, command: list[str], programs: list[str]) -> None:
        assert [each[0].text for each in read(command, []).commands] == programs

    @pytest.mark.parametrize(
        "line,raised",
        [
            ("pip install x", True),
            ("python -m pip install x", True),
            ("uv pip install x", True),
            ("git clone https://example.eu/x", True),
            ("hf download a/b", True),
            ("curl http://localhost:80/x", False),
            ("git status", False),
            ("pip list", False),
            ("echo pip install", False),
            ("python t.py --data=hf://a/b", True),
        ],
    )
    def test_what_fetches_is_known_by_its_first_words(self, line: str, raised: bool) -> None:
        told = said(at("leonardo-booster", command=["bash", "-c", line]))
        assert ("InternetNeeded", "spec.command") in told if raised else told == set()

    @pytest.mark.parametrize(
        "profile,severity", [("deucalion-gpu", "error"), ("leonardo-booster", "warning"), ("vega-gpu", "warning")]
    )
    def test_how_bad_it_is_follows_what_is_known_of_the_way_out(self, profile: str, severity: str) -> None:
        told = [each for each in at(profile, command=["wget", "https://github.com/x"]) if each.id == "InternetNeeded"]
        assert [each.severity for each in told] == [severity]

    @pytest.mark.parametrize(
        "command,patched",
        [
            (["torchrun", "--nnodes=2", "--rdzv-backend", "c10d", "t.py", "-x"], ["python", "t.py", "-x"]),
            (["python", "-m", "torch.distributed.run", "--nproc_per_node", "4", "t.py"], ["python", "t.py"]),
            (["torchrun", "--standalone", "-m", "pkg.train", "-x"], ["python", "-m", "pkg.train", "-x"]),
            (["torchrun", "--max-restarts=3", "t.py"], None),
            (["torchrun", "./program"], None),
            (["accelerate", "launch", "--config_file", "c.yaml", "t.py"], None),
            (["horovodrun", "-np", "8", "python", "t.py"], None),
        ],
    )
    def test_a_launcher_is_taken_off_where_nothing_is_lost(self, command: list[str], patched: list[str] | None) -> None:
        (told,) = [each for each in at("lumi-g", command=command) if each.id == "LauncherNested"]
        values = {operation.path: operation.value for operation in told.patch}
        assert values == ({} if patched is None else {"/spec/launcher": "torchrun", "/spec/command": patched})

    def test_a_script_starts_what_it_likes(self) -> None:
        line = ["bash", "-c", "srun apptainer exec i.sif torchrun --master_addr=$A t.py"]
        assert said(at("lumi-g", launcher="script", command=line)) == set()
        own = ["python", "/start.py", "--master_addr=node1", "--num_workers=64"]
        assert said(at("lumi-g", launcher="script", command=own)) == set()

    def test_a_credential_is_never_repeated(self) -> None:
        secret = "hf_" + "b" * 30
        url = f"https://me:{secret}@example.eu/x"
        told = at("leonardo-booster", command=["curl", url], env=[{"name": "X", "value": f"s3://a/{secret}"}])

        assert {each for each, _ in said(told)} == {"InternetNeeded", "SecretInCommand", "SecretInEnv"}
        assert secret not in "".join(map(str, told))

    def test_the_host_is_shown(self) -> None:
        env = [{"name": "BUCKET", "value": "s3://jane@private.example.eu/x"}]
        told = at("leonardo-booster", env=env, image="https://jane:pa55-word@private.example.eu/x")
        assert [each.id for each in told if "private.example.eu" in each.message] == ["ImageFormat", "InternetNeeded"]

    @pytest.mark.parametrize(
        "spec",
        [
            {"image": "docker://jane:pa55-word@private.example.eu/secret/x"},
            {"image": "https://jane:pa55-word@private.example.eu/secret/x.sif"},
            {"command": ["curl", "https://jane:pa55-word@private.example.eu/secret/x?sig=pa55-word"]},
            {"command": ["python", "/t.py", "--at=https://jane:" + "y" * 90 + "pa55-word@private.example.eu/secret"]},
            {"command": ["python", "/t.py", "--at=https://private.example.eu/?sig=pa55-word"]},
            {"env": [{"name": "MLFLOW_TRACKING_URI", "value": "https://jane:pa55-word@private.example.eu/secret"}]},
            {"env": [{"name": "NCCL_SOCKET_IFNAME", "value": "https://jane:pa55-word@private.example.eu/secret"}]},
            {"env": [{"name": "NCCL_NET", "value": "https://jane:pa55-word@private.example.eu/secret"}]},
            {"env": [{"name": "BUCKET", "value": "s3://jane:pa55-word@private.example.eu/secret"}]},
            {"env": [{"name": "BUCKET", "value": "s3://jane@private.example.eu/secret"}]},
        ],
    )
    def test_of_an_address_with_a_login_the_host_is_shown_alone(self, spec: dict[str, Any]) -> None:
        text = "".join(str(each) for profile in ("leonardo-booster", "lumi-g") for each in at(profile, **spec))
        assert "jane" not in text
        assert "pa55" not in text
        assert "/secret" not in text

    @pytest.mark.parametrize(
        "name,value,raised",
        [
            ("DB_PASSWORD", "correct-horse", True),
            ("SORT_KEY", "created-at-time", False),
            ("STRIPE_API_KEY", "abcdefghijkl", True),
            ("HF_TOKEN_PATH", "relative/token", False),
            ("API_TOKEN", "short", False),
            ("USE_TOKEN", "true", False),
            ("TOKEN_COUNT", "123456789", False),
        ],
    )
    def test_a_name_alone_warns_where_the_value_may_be_one(self, name: str, value: str, raised: bool) -> None:
        told = [each for each in at("lumi-g", env=[{"name": name, "value": value}]) if each.id == "SecretInEnv"]
        assert [each.severity for each in told] == (["warning"] if raised else [])


def test_one_finding_is_made_for_each_id_and_field() -> None:
    told = at("leonardo-booster", command=["bash", "-c", "pip install a; pip install b; curl x"])
    assert [each.id for each in told if each.id == "InternetNeeded"] == ["InternetNeeded"]


def test_the_worst_comes_first() -> None:
    told = at("marenostrum5-acc", timeLimit="24h", command=["curl", "https://github.com/x"])
    assert [each.severity for each in told] == ["error", "warning", "info"]


class TestWhatIsRight:
    @pytest.mark.parametrize(
        "words",
        [
            ["python", "/t.py", "--vllm-url", "http://$MASTER_ADDR:8000"],
            ["python", "/t.py", "--url", "http://lrdn0001:8000/v1"],
            ["python", "/t.py", "--url", "http://10.0.0.5:5000"],
            ["python", "/t.py", "--url=http://0.0.0.0:8000"],
            ["python", "/t.py", "--ns", "http://www.w3.org/2001/XMLSchema"],
            ["bash", "-c", "until curl -s http://$(hostname):8000/health; do sleep 1; done; python /t.py"],
            ["bash", "-c", "pip install --no-deps /leonardo_work/p/x.whl && python /t.py"],
            ["bash", "-c", "pip install --no-deps --no-build-isolation -e /leonardo_work/p/code && python /t.py"],
        ],
    )
    def test_what_lies_at_the_site_needs_no_internet(self, words: list[str]) -> None:
        assert "InternetNeeded" not in {each for each, _ in said(at("leonardo-booster", command=words))}

    @pytest.mark.parametrize(
        "words",
        [
            ["python", "/t.py", "--url", "https://example.eu/x"],
            ["bash", "-c", "pip install /leonardo_work/p/x.whl && python /t.py"],
            ["bash", "-c", "pip install --no-deps trl && python /t.py"],
            ["python", "/t.py", "--data", "s3://bucket/x"],
        ],
    )
    def test_what_lies_elsewhere_does(self, words: list[str]) -> None:
        assert "InternetNeeded" in {each for each, _ in said(at("leonardo-booster", command=words))}

    @pytest.mark.parametrize(
        "image",
        [
            "/scratch/project_465001234/nvidia/train.sif",
            "/scratch/project_465001234/cuda-users/rocm62.sif",
            "/scratch/project_465001234/arm64-tests/train.sif",
            "ghcr.io/nvidia/rocm-x:1",
            "/scratch/project_465001234/nvidia-nemotron-rocm.sif",
        ],
    )
    def test_an_image_is_judged_by_its_own_name(self, image: str) -> None:
        assert not {"ImageVendor", "ImageArchitecture"} & {each for each, _ in said(at("lumi-g", image=image))}
