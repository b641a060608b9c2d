"""What only this attempt may know: taken out of the file that the operator wrote for it, and that file is gone.

Variables go from the batch script to the trainers by the environment of the step, as one variable, and rest nowhere.
Files lie in the attempt's directory, readable by its user alone, until the batch script ends. No value is ever told.
"""

import base64
import json
import os
import shutil
import stat
import sys
from typing import Any, Dict, List

from passerelle.onsite.fault import report
from passerelle.onsite.files import read_json

VARIABLE = "PASSERELLE_SEALED"
"""In base64: one variable of the step carries all of them, so that no name meets one of Slurm's."""
LOGIN = "PASSERELLE_LOGIN"
"""Likewise, for the step that pulls the image, and for no other."""


class Refused(Exception):
    """The attempt must not begin without its secrets; says why."""


def take(path: str, marker: str) -> Dict[str, Any]:
    """The content of the file, which is removed. Raises Refused."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise Refused(_gone(path)) from None
    except OSError as error:
        raise Refused("The job's secrets can't be read at %s: %s." % (path, error.strerror)) from None
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        content = file.read()
    os.unlink(path)
    if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise Refused("%s could be read or written by others than the job's user; it is removed." % path)
    try:
        told = json.loads(content.decode("utf-8"))
        if told["marker"] == marker:
            return {"variables": told["variables"], "files": told["files"], "login": told["login"]}
    except (ValueError, KeyError, TypeError):
        pass
    raise Refused("%s does not hold the secrets of this attempt; it is removed." % path)


def _gone(path: str) -> str:
    if int(os.environ.get("SLURM_RESTART_COUNT") or 0):
        return "The job was started again, and its secrets went to its first start: only another attempt brings them."
    return "There is no file with the job's secrets at %s." % path


def lay(files: List[Dict[str, str]], here: str) -> None:
    """Write the files, for this user alone from the first byte on."""
    for each in files:
        path = os.path.join(here, "files", each["path"])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
            file.write(base64.b64decode(each["data"]))


def variables() -> Dict[str, str]:
    """The variables, in a process of the step: it passes on what is meant for the trainer, and not their carrier."""
    return {name: value for name, _, value in (each.partition("=") for each in _carried(VARIABLE))}


def login() -> List[str]:
    """User name and password for the image's registry, in the process that pulls it; nothing where there is none."""
    return _carried(LOGIN)


def _carried(name: str) -> List[str]:
    carried = os.environ.pop(name, "")
    return base64.b64decode(carried).decode("utf-8").split("\0") if carried else []


def _carrier(words: List[str]) -> str:
    """As the kernel keeps an environment, with a NUL between two: nothing is escaped, so bytes in are a third more out.
    The kernel takes 128 KiB of one variable, and the operator has seen to it.
    """
    return base64.b64encode("\0".join(words).encode("utf-8")).decode("ascii")


def drop(spec: Dict[str, Any], here: str) -> None:
    """Remove the folders of the files."""
    for folder in spec["sealedFolders"]:
        shutil.rmtree(os.path.join(here, "files", folder), ignore_errors=True)


def main(argv: List[str]) -> int:
    """`take SPEC PATH MARKER` prints a line for the trainers' step and one for the image's: the batch script takes them
    in, and shows them to nobody. `drop SPEC`, when the job ends.
    """
    here = os.path.dirname(os.path.abspath(argv[1]))
    if argv[0] == "drop":
        drop(read_json(argv[1]) or {"sealedFolders": []}, here)
        return 0
    path, marker = argv[2:]
    try:
        told = take(path, marker)
        lay(told["files"], here)
    except Refused as why:
        return report(str(why))
    except OSError as error:
        return report("The job's secrets can't be taken from %s: %s." % (path, error.strerror))
    print(_carrier(["%s=%s" % each for each in told["variables"].items()]))
    print(_carrier(told["login"] or []))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
