"""What is copied for a run, from an object store to the site and back, and how far that has come."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from passerelle.v1alpha1.meta import DnsLabel, DnsSubdomain, Matching, Model, Time, rule, rules

SOURCES_MOST, OUTPUTS_MOST = 16, 8
TRANSFERS_MOST = SOURCES_MOST + OUTPUTS_MOST

URL_HELP = (
    "write one object as s3://BUCKET/KEY, or all objects that begin alike with a slash at the end: s3://BUCKET/KEY/; a "
    "bucket's name has 3 to 63 letters, digits and . _ -"
)
OUTPUT_HELP = (
    "write a path in the run's directory, like checkpoints/final, or an absolute one, of letters, digits and . _ + @ = "
    "~ -, without .."
)
ONE_OBJECT_HELP = (
    "end the source's url with a slash to copy all objects below it, or leave the slash of path out to copy one"
)
DATA_PATH = r"^(/[A-Za-z0-9_.+@=~-]+)+/?$"

_Url = Annotated[
    str,
    Field(max_length=1124),
    Matching(r"^s3://[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]/([^/\x00-\x1f\x7f][^\x00-\x1f\x7f]*)?$", URL_HELP),
]
_OutputPath = Annotated[
    str,
    Field(min_length=1, max_length=1024),
    Matching(
        r"^/?([A-Za-z0-9_+@=~-][A-Za-z0-9_.+@=~-]*|\.[A-Za-z0-9_+@=~-][A-Za-z0-9_.+@=~-]*)"
        r"(/([A-Za-z0-9_+@=~-][A-Za-z0-9_.+@=~-]*|\.[A-Za-z0-9_+@=~-][A-Za-z0-9_.+@=~-]*))*/?$",
        OUTPUT_HELP,
    ),
]


class StoreSecret(Model):
    """A Secret in the TrainingJob's namespace that tells where an object store is, and who we are there."""

    name: DnsSubdomain = Field(
        description="name is the Secret's name. Its keys are named as the AWS SDKs name their variables: "
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; where they are needed AWS_SESSION_TOKEN, AWS_REGION, and "
        "AWS_ENDPOINT_URL of a store that is not AWS's; and ca.crt with its certificate authority.",
    )


class S3(Model):
    """One object, or all that begin alike, in a store that speaks S3."""

    url: _Url = Field(
        description="url is s3://BUCKET/KEY for one object, or ends with a slash for all objects below it."
    )
    secret_ref: StoreSecret = Field(description="secretRef names the Secret that opens the store.")


class Source(Model):
    """Where data comes from."""

    s3: S3 = Field(description="s3 is an object, or all objects below a prefix, in a store that speaks S3.")


class Destination(Model):
    """Where outputs go to."""

    s3: S3 = Field(
        description="s3 is a place in a store that speaks S3; with a slash at its end, files go below it under their "
        "own names."
    )


class Data(Model):
    """A file or directory at the site that trainers use under its own path."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.source) || self.source.s3.url.endsWith('/') || !self.path.endsWith('/')",
                ONE_OBJECT_HELP,
                reason="FieldValueInvalid",
                fieldPath=".path",
            )
        )
    )

    name: DnsLabel = Field(description="name tells this entry from the others.")
    path: str = Field(
        max_length=1024,
        pattern=DATA_PATH,
        description="path is an absolute path at the site, of letters, digits and . _ + @ = ~ -; it is seen in the "
        "container under the same path.",
    )
    source: Source | None = Field(
        default=None,
        description="source is copied to path before the job is submitted, once: what is there already is not copied "
        "again, and what lies at path is never replaced, an older version neither. Unset, the data lie at the site.",
    )

    @model_validator(mode="after")
    def _one_object_is_a_file(self) -> Self:
        if self.source is not None and self.path.endswith("/") and not self.source.s3.url.endswith("/"):
            raise ValueError(ONE_OBJECT_HELP)
        return self


class Output(Model):
    """A file or directory of the run that is copied away when the run has succeeded."""

    name: DnsLabel = Field(description="name tells this entry from the others.")
    path: _OutputPath = Field(
        description="path is a file or a directory, in the run's directory, like checkpoints/final, or absolute."
    )
    destination: Destination = Field(description="destination is where it goes.")


class Transfer(Model):
    """How far one entry has been copied."""

    name: str = Field(max_length=63, description="name is the entry's.")
    direction: Literal["In", "Out"] = Field(description="direction is In for data, Out for outputs.")
    state: Literal["Waiting", "Copying", "Done", "Failed"] = Field(
        description="state is Waiting, Copying, Done, or Failed where a person must act."
    )
    files: int = Field(default=0, ge=0, description="files is how many files are there.")
    bytes: int = Field(default=0, ge=0, description="bytes is how many bytes are there.")
    total_bytes: int | None = Field(default=None, ge=0, description="totalBytes is how many there will be.")
    message: str = Field(
        default="", max_length=256, description="message tells what went wrong last, or what it waits for."
    )
    start_time: Time | None = Field(default=None, description="startTime is when it was begun.")
    end_time: Time | None = Field(default=None, description="endTime is when it was done.")
