"""What comes of ConfigMaps and Secrets, and that the two never mix."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from passerelle import brought
from passerelle.brought import SOURCES_LIMIT, VARIABLES_LIMIT, Brought, Sealed, bring
from passerelle.errors import Invalid
from passerelle.onsite.sealed import _carrier
from passerelle.parcels import sealed
from passerelle.profiles import load
from passerelle.registry import Login
from plans import job, planned

CANARY = "c4n4ry-v4lue"
CONFIG = {"LEVEL": b"debug", "DATA": b"/scratch/a"}
WANDB = {"WANDB_API_KEY": CANARY.encode(), "ca.crt": b"\xff\x00"}


def brought_by(
    secrets: dict[str, Any] | None = None, config_maps: dict[str, Any] | None = None, **spec: Any
) -> Brought:
    asked = job(**spec)
    named = dict.fromkeys(brought.secrets(asked)) | (secrets or {})
    known = dict.fromkeys(brought.config_maps(asked)) | (config_maps or {})
    return bring(asked, "team-a", known, named)


def sealed_variables(found: Brought) -> dict[str, str]:
    assert found.sealed is not None
    return dict(found.sealed.variables)


def of_secret(name: str, key: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": "wandb", "key": key, **more}}}


def test_each_name_is_told_once() -> None:
    asked = job(
        env=[of_secret("A", "a"), of_secret("B", "b")],
        envFrom=[{"configMapRef": {"name": "config"}}, {"secretRef": {"name": "hub"}}],
        files=[{"secret": "hub", "path": "/s"}, {"configMap": "code", "path": "/w"}],
    )

    assert brought.secrets(asked) == ("hub", "wandb")
    assert brought.config_maps(asked) == ("code", "config")


def test_a_job_without_secrets_has_nothing_sealed() -> None:
    found = brought_by(config_maps={"config": CONFIG}, envFrom=[{"configMapRef": {"name": "config"}, "prefix": "X_"}])

    assert found.sealed is None
    assert dict(found.environment) == {"X_LEVEL": "debug", "X_DATA": "/scratch/a"}


def test_what_comes_of_a_secret_is_sealed_alone() -> None:
    found = brought_by(
        {"wandb": {"WANDB_API_KEY": CANARY.encode()}},
        env=[of_secret("TOKEN", "WANDB_API_KEY")],
        envFrom=[{"secretRef": {"name": "wandb"}}],
        files=[{"secret": "wandb", "path": "/secrets/"}],
    )

    assert sealed_variables(found) == {"WANDB_API_KEY": CANARY, "TOKEN": CANARY}
    assert found.sealed == Sealed(
        variables=sealed_variables(found), files=(("/secrets/WANDB_API_KEY", CANARY.encode()),)
    )
    assert (found.files, found.environment, found.sealed_folders) == ((), (), ("/secrets",))
    assert CANARY not in repr(found)


@pytest.mark.parametrize(
    "spec, plain, hidden",
    [
        ({"envFrom": [{"secretRef": {"name": "s"}}, {"configMapRef": {"name": "c"}}]}, {"A": "plain"}, {}),
        ({"envFrom": [{"configMapRef": {"name": "c"}}, {"secretRef": {"name": "s"}}]}, {"A": "plain"}, {"A": "hidden"}),
        ({"envFrom": [{"secretRef": {"name": "s"}}], "env": [{"name": "A", "value": "x"}]}, {}, {}),
        (
            {
                "envFrom": [{"secretRef": {"name": "s"}}],
                "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "A"}}}],
            },
            {"A": "plain"},
            {},
        ),
    ],
)
def test_of_a_name_that_comes_twice_the_last_counts_and_env_after_envfrom(
    spec: dict[str, Any], plain: dict[str, str], hidden: dict[str, str]
) -> None:
    """What is hidden counts over what is plain where the trainer starts, so that no plain value tells of a Secret."""
    found = brought_by({"s": {"A": b"hidden"}}, {"c": {"A": b"plain"}}, **spec)

    assert (dict(found.environment), sealed_variables(found)) == (plain, hidden)


def test_a_plan_depends_on_no_secret() -> None:
    spec = {
        "env": [of_secret("B", "b", optional=True)],
        "envFrom": [{"configMapRef": {"name": "c"}}, {"secretRef": {"name": "wandb"}}],
        "files": [{"secret": "wandb", "path": "/s"}],
    }
    contents: list[dict[str, bytes]] = [{}, {"A": b"1"}, {"A": b"2", "b": b"x", "more": b"y"}]
    plans = [
        planned(job(**spec), brought=brought_by({"wandb": each}, {"c": {"A": b"plain"}}, **spec)) for each in contents
    ]

    assert plans[0] == plans[1] == plans[2]
    assert plans[0].is_sealed


def test_what_is_missing_is_told_with_what_to_create() -> None:
    with pytest.raises(Invalid, match="no Secret named 'wandb' in namespace team-a; create it") as refused:
        brought_by(envFrom=[{"secretRef": {"name": "wandb"}}])
    assert refused.value.reason == "SecretNotFound"

    with pytest.raises(Invalid, match="Secret wandb in namespace team-a has no key 'other'; create") as refused:
        brought_by({"wandb": WANDB}, env=[of_secret("A", "other")])
    assert refused.value.reason == "SecretNotFound"

    with pytest.raises(Invalid, match="no ConfigMap named 'c'") as refused:
        brought_by(envFrom=[{"configMapRef": {"name": "c"}}])
    assert refused.value.reason == "ConfigMapNotFound"


def test_what_is_optional_may_be_missing() -> None:
    found = brought_by(
        env=[of_secret("A", "a", optional=True)],
        envFrom=[{"secretRef": {"name": "hub", "optional": True}}, {"configMapRef": {"name": "c", "optional": True}}],
    )

    assert sealed_variables(found) == {}


def registry_secret(**auths: Any) -> dict[str, bytes]:
    return {".dockerconfigjson": json.dumps({"auths": auths}).encode()}


LOGIN = {"username": "alice", "password": CANARY}
PULLED: dict[str, Any] = {"image": "ghcr.io/lab/train:7", "imagePullSecrets": [{"name": "ghcr"}]}


def test_a_login_is_taken_for_an_image_that_is_pulled() -> None:
    found = brought_by({"ghcr": registry_secret(**{"ghcr.io": LOGIN})}, **PULLED)

    assert found.sealed is not None
    assert found.sealed.login == Login("alice", CANARY)
    assert CANARY not in repr(found)
    assert brought.secrets(job(**PULLED | {"image": "/a.sif"})) == ()


@pytest.mark.parametrize(
    "keys, words",
    [
        (registry_secret(**{"quay.io": LOGIN}), "none of these Secrets has a login for ghcr.io; create one"),
        (registry_secret(**{"ghcr.io": {"auth": CANARY}}), "an entry without a user name and a password; write both"),
        ({".dockerconfigjson": b"[]"}, "is no such file; create the Secret with kubectl"),
    ],
)
def test_a_login_that_is_none_is_told_without_its_value(keys: dict[str, bytes], words: str) -> None:
    with pytest.raises(Invalid, match=words) as refused:
        brought_by({"ghcr": keys}, **PULLED)

    assert refused.value.reason == "LoginInvalid"
    assert CANARY not in str(refused.value)


def test_an_engine_that_pulls_by_itself_takes_no_login() -> None:
    found = brought_by({"ghcr": registry_secret(**{"ghcr.io": LOGIN})}, **PULLED)

    with pytest.raises(Invalid, match="edf fetches images by itself") as refused:
        planned(job(**PULLED), facts=load("alps-clariden"), brought=found)
    assert refused.value.reason == "LoginNotSupported"


def test_a_key_that_is_no_name_is_passed_over_and_told() -> None:
    found = brought_by({"wandb": WANDB}, envFrom=[{"secretRef": {"name": "wandb"}}])

    assert sealed_variables(found) == {"WANDB_API_KEY": CANARY}
    assert found.passed_over == (("ca.crt", "envFrom: Secret wandb"),)


@pytest.mark.parametrize("value", [b"\xff" + CANARY.encode(), b"\0" + CANARY.encode()])
def test_a_value_that_no_variable_holds_is_refused_without_being_shown(value: bytes) -> None:
    with pytest.raises(Invalid, match="value of A is no text") as refused:
        brought_by({"wandb": {"a": value}}, env=[of_secret("A", "a")])

    assert CANARY not in str(refused.value)
    assert refused.value.__cause__ is None


def test_variables_that_are_too_large_are_to_come_as_files() -> None:
    with pytest.raises(Invalid, match="bring large values by files") as refused:
        brought_by({"wandb": {"A": b"x" * VARIABLES_LIMIT}}, envFrom=[{"secretRef": {"name": "wandb"}}])

    assert refused.value.reason == "SecretTooLarge"


@pytest.mark.parametrize("unit", ["é", "\x01", '{"a": "b"}\n', "x"])
def test_all_variables_that_are_taken_fit_into_one_of_the_kernel_s(unit: str) -> None:
    """Whatever they hold: what carries them escapes nothing."""
    value = (unit * VARIABLES_LIMIT).encode()[: VARIABLES_LIMIT - len("A=\0")].decode("utf-8", "ignore")
    found = sealed_variables(brought_by({"wandb": {"A": value.encode()}}, envFrom=[{"secretRef": {"name": "wandb"}}]))
    carrier = _carrier([f"{name}={text}" for name, text in found.items()])

    assert len(carrier) < 128 * 1024 - len("PASSERELLE_SEALED=\0")
    done = subprocess.run(["/bin/true"], env={"PASSERELLE_SEALED": carrier}, check=False)
    assert done.returncode == 0


def test_many_small_variables_count_with_what_stands_between_them() -> None:
    many = {f"A{number}": b"" for number in range(VARIABLES_LIMIT // len("A1234"))}

    with pytest.raises(Invalid, match="bring large values by files"):
        brought_by({"wandb": many}, envFrom=[{"secretRef": {"name": "wandb"}}])


def test_a_job_names_a_bounded_number_of_sources() -> None:
    def of(number: int) -> list[dict[str, Any]]:
        chosen = [{"secretKeyRef": {"name": f"s{each}", "key": "a"}} for each in range(number)]
        return [{"name": f"A{each}", "valueFrom": source} for each, source in enumerate(chosen)]

    brought.check_sources(job(env=of(SOURCES_LIMIT)))
    with pytest.raises(Invalid, match="may name 32; bring several keys in one") as refused:
        brought.check_sources(job(env=of(SOURCES_LIMIT), envFrom=[{"configMapRef": {"name": "c"}}]))
    assert refused.value.reason == "TooManySources"


@pytest.mark.parametrize("kind", ["secretRef", "configMapRef"])
def test_a_key_that_is_the_launch_s_own_variable_is_refused(kind: str) -> None:
    spec = {"envFrom": [{kind: {"name": "x"}, "prefix": "MASTER_"}]}
    found = brought_by({"x": {"PORT": b"1"}}, {"x": {"PORT": b"1"}}, **spec)

    with pytest.raises(Invalid, match=r"envFrom: (Secret|ConfigMap) x: MASTER_PORT is set") as refused:
        planned(job(**spec), brought=found)
    assert refused.value.reason == "VariableReserved"


def test_a_secret_s_files_lie_in_the_topmost_folder() -> None:
    spec: dict[str, Any] = {
        "files": [{"configMap": "code", "path": "/workspace"}, {"secret": "wandb", "path": "/workspace/keys"}]
    }
    found = brought_by({"wandb": {"k": b"x"}}, {"code": {"train.py": b"1"}}, **spec)
    plan = planned(job(**spec), brought=found)

    assert plan.mounts.folders == ("/workspace",)
    assert plan.mounts.sealed == ("0/keys",)
    assert found.sealed is not None
    assert b'"path": "0/keys/k"' in sealed(plan, found.sealed).content


def test_a_secret_and_a_configmap_can_t_bring_the_same_file() -> None:
    spec: dict[str, Any] = {"files": [{"configMap": "code", "path": "/w"}, {"secret": "wandb", "path": "/w"}]}
    found = brought_by({"wandb": {"k": b"x"}}, {"code": {"k": b"1"}}, **spec)

    with pytest.raises(Invalid, match="two entries bring /w/k"):
        planned(job(**spec), brought=found)


@pytest.mark.parametrize("path", ["/", "/a:b", "/a/../b"])
def test_a_secret_s_folder_is_a_plain_path(path: str) -> None:
    spec: dict[str, Any] = {"files": [{"secret": "wandb", "path": path}]}

    with pytest.raises(Invalid, match="files") as refused:
        planned(job(**spec), brought=brought_by({"wandb": {}}, **spec))
    assert refused.value.reason == "FilesInvalid"


def test_a_script_of_the_user_s_own_gets_a_secret_by_env() -> None:
    spec: dict[str, Any] = {
        "launcher": "script",
        "command": ["/w/job.sh"],
        "files": [{"secret": "wandb", "path": "/s"}],
    }

    with pytest.raises(Invalid, match="bring it by env") as refused:
        planned(job(**spec), brought=brought_by({"wandb": {}}, **spec))
    assert refused.value.reason == "FilesNotSupported"


@pytest.mark.parametrize(
    "spec, field",
    [
        ({"env": [{"name": "A", "value": "x"}, of_secret("TOKEN", "key")]}, "spec.env[1]"),
        ({"envFrom": [{"configMapRef": {"name": "config"}}, {"secretRef": {"name": "wandb"}}]}, "spec.envFrom[1]"),
        ({"files": [{"secret": "wandb", "path": "/s"}]}, "spec.files[0]"),
        ({"image": "quay.io/a/b:1", "imagePullSecrets": [{"name": "wandb"}]}, "spec.imagePullSecrets[0]"),
    ],
)
def test_what_is_missing_is_told_of_the_field_that_names_it(spec: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        brought_by({"wandb": None}, {"config": CONFIG}, **spec)

    assert (refused.value.reason, refused.value.field) == ("SecretNotFound", field)
    assert brought.field_of(job(**spec), "wandb") == field
    assert brought.field_of(job(**spec), "hub") is None


def test_a_missing_key_is_told_of_the_field_that_names_it() -> None:
    with pytest.raises(Invalid) as refused:
        brought_by({"wandb": {"a": b"1"}}, env=[of_secret("TOKEN", "b")], files=[{"secret": "wandb", "path": "/s"}])

    assert refused.value.field == "spec.env[0]"
