"""What a pull that failed says of the image, and what of the site."""

import base64
import sys
from pathlib import Path

import pytest

from passerelle.onsite import pull
from passerelle.onsite.codes import IMAGE_NOT_FOUND, SITE_FAULT


@pytest.mark.parametrize(
    "said,code",
    [
        ("reading manifest sha256:12: manifest unknown", IMAGE_NOT_FOUND),
        ("NAME UNKNOWN: repository name not known to registry", IMAGE_NOT_FOUND),
        ("denied: requested access to the resource is denied", IMAGE_NOT_FOUND),
        ("reading manifest: unauthorized: authentication required", IMAGE_NOT_FOUND),
        ("unexpected status code 404", IMAGE_NOT_FOUND),
        ("received unexpected HTTP status: 404 Not Found", IMAGE_NOT_FOUND),
        ("mkdir /tmp/build: permission denied", SITE_FAULT),
        ('exec: "mksquashfs": executable file not found in $PATH', SITE_FAULT),
        ("connection reset by peer", SITE_FAULT),
    ],
)
def test_only_a_registrys_own_words_make_an_image_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, code: int
) -> None:
    binary = tmp_path / "apptainer"
    binary.write_text(f"#!{sys.executable}\nprint({said!r})\nraise SystemExit(255)\n")
    binary.chmod(0o755)
    monkeypatch.setenv("SLURM_JOB_ID", "41")
    monkeypatch.setattr(pull, "report", lambda _, code=SITE_FAULT: code)

    assert pull.pull({"image": f"{tmp_path}/a.sif", "binary": str(binary), "pull": "docker://a"}) == code


def test_neither_password_nor_what_http_makes_of_it_is_told() -> None:
    basic = base64.b64encode(b"alice:c4n4ry").decode()
    said = f"GET /v2/ Authorization: Basic {basic}: alice c4n4ry is wrong; also {basic.rstrip('=')}"

    assert pull._redacted(said, ["alice", "c4n4ry"]) == (
        "GET /v2/ Authorization: Basic [password]: alice [password] is wrong; also [password]"
    )
    assert pull._redacted("manifest unknown", ["alice", ""]) == "manifest unknown"
    assert pull._redacted("manifest unknown", []) == "manifest unknown"
