"""One Slurm task: says who it is, enters the container, runs the trainer or a launcher's agent, tells how it ended.

What the user wrote reaches the process as an argument vector and as environment values, never through a shell.
Apptainer needs --no-eval for that: without it, it evaluates $(...) in values.
"""

import os
import sys
from typing import Any, Dict, List

from passerelle.onsite import notice
from passerelle.onsite.codes import IMAGE_NOT_FOUND
from passerelle.onsite.files import read_json, tell
from passerelle.onsite.sealed import variables
from passerelle.onsite.step import ENGINES
from passerelle.onsite.supervise import fault, supervise

_PASSED = ("SLURM_", "SLURMD_", "PMI_", "PMI2_", "PMIX_", "PALS_")
_DEVICES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL")
"""Of the task's environment, what a trainer may need: who it is, to Slurm and to MPI, and which GPUs Slurm gave it."""
_MPI_FOLDERS = ("PMIX_SERVER_TMPDIR", "PALS_SPOOL_DIR")
"""Where MPI's process management keeps sockets and files: what the site shows to no image by itself."""
_BRANDS = ("APPTAINER", "SINGULARITY")


def main(argv: List[str]) -> int:
    """`rank SPEC`, as a Slurm task."""
    hidden = variables()
    path = os.path.abspath(argv[0])
    here, task = os.path.dirname(path), int(os.environ["SLURM_PROCID"])
    facts: Dict[str, Any] = {"node": os.environ.get("SLURMD_NODENAME", ""), "rank": None}
    spec = read_json(path)
    record = os.path.join(here, "ends", "%s-%d.json" % ("agent" if spec and spec["agent"] else "rank", task))
    if task == 0:
        note(here)
    if spec is None:
        return fault(record, facts, "%s can't be read on %s" % (path, facts["node"]))
    tasks = int(os.environ["SLURM_NTASKS"])
    if tasks != spec["tasks"]:
        # worlds of one, each of which believes that it is the whole, are the classic silent failure
        return fault(record, facts, "Slurm started %d tasks, the plan has %d" % (tasks, spec["tasks"]))
    container = spec["container"]
    if container and container["kind"] not in ENGINES and not os.access(container["image"], os.R_OK):
        text = "There is no readable image at %s on %s." % (container["image"], facts["node"])
        return fault(record, facts, text, IMAGE_NOT_FOUND)
    own = identity(spec)
    known = dict(own, NODE_RANK=os.environ["SLURM_NODEID"])
    own.update((name, value.format(**known)) for name, value in spec["variables"].items())
    words = list(spec["command"])
    if spec["agent"]:
        words = [word.format(**known) for word in spec["agent"]] + [os.path.join(here, "lib"), "worker", path]
    else:
        facts["rank"] = task
        own[notice.VARIABLE] = notice.signal_file(here, task)
        if spec["checkpoint"]:
            notice.attend(own[notice.VARIABLE])
    environ = dict(passed(), **spec["environment"])
    environ.update(hidden)
    environ.update(own)
    words, environ = contained(spec, here, words, environ)
    return supervise(words, environ, record, facts, os.environ.get("PASSERELLE_STOP_FILE", ""))


def note(here: str) -> None:
    """Say that the step has begun: where none does, its failure is no trainer's."""
    path = os.path.join(here, "ends", "began")
    try:
        with open(path, "w", encoding="utf-8"):
            pass
    except OSError as error:
        tell("%s can't be written: %s" % (path, error))


def identity(spec: Dict[str, Any]) -> Dict[str, str]:
    """Who this process is, and the contract with the trainer."""
    environ = os.environ
    names = [name for name in environ if name.startswith("PASSERELLE_")] + ["MASTER_ADDR", "MASTER_PORT"]
    found = {name: environ[name] for name in names}
    if not spec["agent"]:
        found.update(
            RANK=environ["SLURM_PROCID"],
            LOCAL_RANK=environ["SLURM_LOCALID"],
            WORLD_SIZE=environ["SLURM_NTASKS"],
            LOCAL_WORLD_SIZE=str(spec["tasksPerNode"]),
            NODE_RANK=environ["SLURM_NODEID"],
        )
    return found


def passed() -> Dict[str, str]:
    """What of the task's own environment the trainer sees."""
    return {name: value for name, value in os.environ.items() if name.startswith(_PASSED) or name in _DEVICES}


def contained(
    spec: Dict[str, Any], here: str, words: List[str], environ: Dict[str, str]
) -> "tuple[List[str], Dict[str, str]]":
    """Argument vector and environment with the container around them, where the site has one."""
    container = spec["container"]
    work = spec["workingDir"] or os.path.join(here, "work")
    if container is not None and container["kind"] in ENGINES:
        os.chdir(work)
        return words, dict(os.environ, **environ)
    base = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "USER", "TMPDIR") if name in os.environ}
    if container is None:
        os.chdir(work)
        return words, dict(base, **environ)
    brand = container["kind"].upper()
    # a site's module says so what every image of its users must see
    base.update((name, value) for name, value in os.environ.items() if name.startswith(_BRANDS))
    argv = [container["binary"], "--quiet", "exec", "--cleanenv", "--no-eval", "--home", base["HOME"], "--pwd", work]
    argv += container["options"]
    folders = [os.environ[name] for name in _MPI_FOLDERS if os.path.isdir(os.environ.get(name, ""))]
    for bind in container["binds"] + folders:
        argv += ["--bind", bind]
    for number, folder in enumerate(spec["folders"]):
        argv += ["--bind", "%s:%s:ro" % (os.path.join(here, "files", str(number)), folder)]
    argv += [container["image"], *words]
    return argv, dict(base, **{brand + "ENV_" + name: value for name, value in environ.items()})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
