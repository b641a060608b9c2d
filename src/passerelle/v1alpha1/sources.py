"""Where a trainer's environment and files come from: written values, ConfigMaps and Secrets, in a Pod's shapes."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import ConfigDict, Field, JsonValue, model_validator
from pydantic.alias_generators import to_snake

from passerelle.v1alpha1.meta import NO_NUL, AbsolutePath, DnsSubdomain, Matching, Model, rule, rules

VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
VARIABLE_HELP = "write letters, digits and underscores, no digit first"
KEY_HELP = "write letters, digits, and - _ ."

_Variable = Annotated[str, Field(max_length=253), Matching(VARIABLE, VARIABLE_HELP)]
_Prefix = Annotated[str, Field(max_length=253), Matching(r"^([A-Za-z_][A-Za-z0-9_]*)?$", VARIABLE_HELP)]
_Key = Annotated[str, Field(max_length=253), Matching(r"^[-._A-Za-z0-9]+$", KEY_HELP)]
_WRITE_EITHER = "write either {} or {}"
_VALUE_OR_SOURCE = _WRITE_EITHER.format("value", "valueFrom")


class _Either(Model):
    """Exactly one of two fields is written, says `either`, under the API's names."""

    either: ClassVar[tuple[str, str]]

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        written = [name for name in self.either if getattr(self, to_snake(name)) is not None]
        if len(written) != 1:
            raise ValueError(_WRITE_EITHER.format(*self.either))
        return self


def _one_of(one: str, other: str) -> dict[str, JsonValue]:
    return rule(
        f"has(self.{one}) != has(self.{other})",
        _WRITE_EITHER.format(one, other),
        reason="FieldValueInvalid",
        fieldPath=f".{one}",
    )


class SecretRef(Model):
    """A Secret in the TrainingJob's namespace, as in a Pod."""

    name: DnsSubdomain = Field(description="name is the name of a Secret in the TrainingJob's namespace.")
    optional: bool = Field(
        default=False, description="optional lets the job go without the Secret where there is none."
    )


class ConfigMapRef(Model):
    """A ConfigMap in the TrainingJob's namespace, as in a Pod."""

    name: DnsSubdomain = Field(description="name is the name of a ConfigMap in the TrainingJob's namespace.")
    optional: bool = Field(
        default=False, description="optional lets the job go without the ConfigMap where there is none."
    )


class SecretName(Model):
    """A Secret in the TrainingJob's namespace, as in a Pod."""

    name: DnsSubdomain = Field(
        description="name is the name of a Secret that `kubectl create secret docker-registry` has made."
    )


class SecretKeyRef(SecretRef):
    """One key of a Secret, as in a Pod."""

    key: _Key = Field(description="key is the key of the Secret whose value is taken.")
    optional: bool = Field(
        default=False, description="optional lets the job go without the variable where there is no such Secret or key."
    )


class ConfigMapKeyRef(ConfigMapRef):
    """One key of a ConfigMap, as in a Pod."""

    key: _Key = Field(description="key is the key of the ConfigMap whose value is taken.")
    optional: bool = Field(
        default=False,
        description="optional lets the job go without the variable where there is no such ConfigMap or key.",
    )


class EnvVarSource(_Either):
    """Where a variable's value comes from, as in a Pod."""

    either = ("secretKeyRef", "configMapKeyRef")
    model_config = ConfigDict(json_schema_extra=rules(_one_of(*either)))

    secret_key_ref: SecretKeyRef | None = Field(
        default=None, description="secretKeyRef takes the value from a key of a Secret."
    )
    config_map_key_ref: ConfigMapKeyRef | None = Field(
        default=None, description="configMapKeyRef takes the value from a key of a ConfigMap."
    )


class EnvVar(Model):
    """One environment variable, as in a Pod."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.valueFrom) || !has(self.value) || self.value == ''",
                _VALUE_OR_SOURCE,
                reason="FieldValueForbidden",
                fieldPath=".valueFrom",
            )
        )
    )

    name: _Variable = Field(description="name is the variable's name: letters, digits and underscores.")
    value: str = Field(
        default="",
        max_length=8192,
        pattern=NO_NUL,
        description="value reaches the trainer as written; no shell reads it, and $(OTHER) is not expanded. It stands "
        "in the job's script: a secret comes by valueFrom.",
    )
    value_from: EnvVarSource | None = Field(
        default=None,
        description="valueFrom takes the value from a key of a Secret or a ConfigMap in the TrainingJob's namespace. "
        "An attempt runs with what stands there when it is submitted.",
    )

    @model_validator(mode="after")
    def _value_or_source(self) -> Self:
        if self.value and self.value_from is not None:
            raise ValueError(_VALUE_OR_SOURCE)
        return self


class EnvFrom(_Either):
    """A Secret or a ConfigMap whose keys become environment variables, as in a Pod."""

    either = ("secretRef", "configMapRef")
    model_config = ConfigDict(json_schema_extra=rules(_one_of(*either)))

    prefix: _Prefix = Field(
        default="", description="prefix stands in front of each key to make the variable's name; none where unset."
    )
    secret_ref: SecretRef | None = Field(default=None, description="secretRef takes all keys of a Secret.")
    config_map_ref: ConfigMapRef | None = Field(default=None, description="configMapRef takes all keys of a ConfigMap.")


class FilesFrom(_Either):
    """A ConfigMap or a Secret whose keys become read-only files in the container."""

    either = ("configMap", "secret")
    model_config = ConfigDict(json_schema_extra=rules(_one_of(*either)))

    config_map: DnsSubdomain | None = Field(
        default=None,
        description="configMap is the name of a ConfigMap in the TrainingJob's namespace; each key becomes a file. "
        "An attempt runs with what the ConfigMap holds when the attempt is made.",
    )
    secret: DnsSubdomain | None = Field(
        default=None,
        description="secret is the name of a Secret in the TrainingJob's namespace; each key becomes a file, which "
        "only the job's user can read, and which is removed when the job ends.",
    )
    path: AbsolutePath = Field(
        max_length=1024,
        description="path is the directory in the container in which the files appear, read-only. It hides what the "
        "image has there.",
    )
