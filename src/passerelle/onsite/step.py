"""The step in which the attempt's work is done: becomes srun, with the plan's numbers, or runs a script of the user's.

What the user wrote is among srun's arguments where a container engine starts the image: so it is put together here, and
not by a shell. Under such an engine this program's own files are seen through a mount, and the image's Python reads
them.
"""

import os
import sys
from typing import Any, Dict, List

from passerelle.onsite.files import read_json
from passerelle.onsite.sealed import variables
from passerelle.onsite.supervise import fault, supervise

ENGINES = ("pyxis", "edf")
"""Under these a task begins in the image."""


def main(argv: List[str]) -> int:
    """`step SPEC`, in the batch script: on success, what becomes of it is srun's."""
    path = os.path.abspath(argv[0])
    here = os.path.dirname(path)
    spec = read_json(path)
    if spec is None:
        return fault(os.path.join(here, "ends", "agent-0.json"), {"node": "", "rank": None}, "%s can't be read" % path)
    if spec["isBody"]:
        return run_body(spec, here)
    words = [*srun(spec, here), "python3", os.path.join(here, "lib"), "rank", path]
    os.execvp("srun", [word.encode("utf-8") for word in words])  # noqa: S606 -- no shell is what is wanted
    return 1


def srun(spec: Dict[str, Any], here: str) -> List[str]:
    """The command, up to the program that is started.

    --wait: when one task has ended, the others get a minute; a rank that never comes back costs no more than that. No
    --unbuffered: with --label it tears a line that was written in pieces, as Python's print does, into labelled shreds.
    """
    words = ["srun", "--nodes=%d" % spec["nodes"], "--ntasks=%d" % spec["tasks"]]
    words += ["--ntasks-per-node=%d" % spec["tasksPerNode"], "--cpus-per-task=%d" % spec["cpusPerTask"]]
    for option, value in (("mpi", spec["mpi"]), ("cpu-bind", spec["cpuBind"]), ("gpu-bind", spec["gpuBind"])):
        if value is not None:
            words.append("--%s=%s" % (option, value))
    words += ["--kill-on-bad-exit=1", "--wait=60", "--label"]
    container = spec["container"] or {"kind": "none"}
    if container["kind"] == "pyxis":
        words += ["--container-image=" + container["image"], "--no-container-mount-home"]
        words.append("--container-mounts=" + ",".join(mounts(spec, here)))
    elif container["kind"] == "edf":
        words.append("--environment=" + os.path.join(here, "environment.toml"))
    return words


def mounts(spec: Dict[str, Any], here: str) -> List[str]:
    """What the image sees of the site, as container engines write it."""
    found = ["%s:%s" % (bind, bind) for bind in spec["container"]["binds"]]
    return found + ["%s/files/%d:%s:ro" % (here, number, folder) for number, folder in enumerate(spec["folders"])]


def run_body(spec: Dict[str, Any], here: str) -> int:
    """The user's script, on this node, outside the image: in the shell's whole environment, for its srun lines."""
    hidden = variables()
    words = [placed(spec, here, word) for word in spec["command"]]
    environ = dict(os.environ, **spec["environment"])
    environ.update(hidden)
    environ["PASSERELLE_IMAGE"] = (spec["container"] or spec)["image"]
    os.chdir(spec["workingDir"] or os.path.join(here, "work"))
    facts = {"node": os.environ.get("SLURMD_NODENAME", ""), "rank": None}
    return supervise(words, environ, os.path.join(here, "ends", "agent-0.json"), facts)


def placed(spec: Dict[str, Any], here: str, word: str) -> str:
    """A path among `files` as it is outside the image; any other word as it stands."""
    for number, folder in enumerate(spec["folders"]):
        for each in spec["files"]:
            if each["folder"] == number and word == folder + "/" + each["path"]:
                return "%s/files/%d/%s" % (here, number, each["path"])
    return word


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
