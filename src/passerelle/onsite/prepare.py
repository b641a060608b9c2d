"""The attempt's directory, made whole before anything reads it: the user's files, and folders for what comes."""

import base64
import os
import sys
from typing import List

from passerelle.onsite.files import read_json


def main(argv: List[str]) -> int:
    """`prepare SPEC`. A requeued job begins with an empty directory of its own."""
    here = os.path.dirname(os.path.abspath(argv[0]))
    spec = read_json(argv[0])
    if spec is None:
        return 1
    for name in ("ends", "work"):
        os.makedirs(os.path.join(here, name))
    for number in range(len(spec["folders"])):
        os.makedirs(os.path.join(here, "files", str(number)))
    for entry in spec["files"]:
        path = os.path.join(here, "files", str(entry["folder"]), entry["path"])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(base64.b64decode(entry["data"]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
