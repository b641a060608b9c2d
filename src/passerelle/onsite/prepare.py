"""The attempt's directory, made whole before anything reads it: the user's files, and folders for what comes.

Files for which the script had no room lie in a zip beside it, which counts if it has the SHA-256 that the script names.
The image is looked for, too: one that is missing would be found missing by each rank, in words of Apptainer's.
"""

import base64
import hashlib
import io
import json
import os
import sys
import zipfile
from typing import Any, Callable, Dict, List

from passerelle.onsite.codes import IMAGE_NOT_FOUND
from passerelle.onsite.fault import report
from passerelle.onsite.files import read_json
from passerelle.onsite.step import mounts


def main(argv: List[str]) -> int:
    """`prepare SPEC`. A requeued job begins with an empty directory of its own."""
    here = os.path.dirname(os.path.abspath(argv[0]))
    spec = read_json(argv[0])
    if spec is None:
        return 1
    for name in ("ends", "signals", "work"):
        os.makedirs(os.path.join(here, name))
    for number in range(len(spec["folders"])):
        os.makedirs(os.path.join(here, "files", str(number)))
    try:
        content = opened(spec)
    except Unfit as why:
        return report(str(why))
    for entry in spec["files"]:
        path = os.path.join(here, "files", str(entry["folder"]), entry["path"])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content(entry))
        os.chmod(path, 0o750)  # a script among them may be run as it is
    container = spec["container"]
    if container is None:
        return 0
    if container["kind"] == "edf":
        with open(os.path.join(here, "environment.toml"), "w", encoding="utf-8") as file:
            file.write(environment_definition(spec, here))
    image = container["image"]
    if image.startswith("/") and not container["pull"] and not os.access(image, os.R_OK):
        node = os.environ.get("SLURMD_NODENAME") or os.uname().nodename
        return report("There is no readable image at %s on %s." % (image, node), IMAGE_NOT_FOUND)
    return 0


class Unfit(Exception):
    """The files that were sent beside the script are not there, or others."""


def opened(spec: Dict[str, Any]) -> Callable[[Dict[str, Any]], bytes]:
    """What tells the content of a file, by its entry. Raises Unfit."""
    payload = spec["payload"]
    if payload is None:
        return lambda entry: base64.b64decode(entry["data"])
    try:
        with open(payload["path"], "rb") as file:
            whole = file.read()
    except OSError as error:
        raise Unfit("The job's files can't be read at %s: %s." % (payload["path"], error.strerror)) from None
    if hashlib.sha256(whole).hexdigest() != payload["sha256"]:
        raise Unfit("%s does not hold the files that were sent with the job: its SHA-256 differs." % payload["path"])
    archive = zipfile.ZipFile(io.BytesIO(whole))
    return lambda entry: archive.read("%d/%s" % (entry["folder"], entry["path"]))


def environment_definition(spec: Dict[str, Any], here: str) -> str:
    """The environment definition file of this attempt, in TOML; the user's own, where the image is one, under it."""
    container = spec["container"]
    key, image = "image", toml(container["image"])
    if container["image"].endswith(".toml"):
        key, image = "base_environment", "[%s]" % image
    lines = ["%s = %s" % (key, image), "mounts = [%s]" % ", ".join(toml(each) for each in mounts(spec, here))]
    if container["annotations"]:
        lines.append("\n[annotations]")
        lines += ["%s = %s" % (name, toml(value)) for name, value in sorted(container["annotations"].items())]
    return "\n".join(lines) + "\n"


def toml(text: str) -> str:
    """A basic string: JSON's way of quoting, but for characters beyond ASCII, which stand as they are."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
