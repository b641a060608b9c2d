"""What a launcher is asked, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Size:
    """How large the training is."""

    nodes: int
    gpus_per_node: int


@dataclass(frozen=True, slots=True)
class Launch:
    """How the trainers start.

    `agent` is the argument vector that a task runs in front of the trainer, empty where the task is the trainer itself.
    In it, and in the values of `variables`, `{NAME}` stands for a variable of the task: MASTER_ADDR, MASTER_PORT,
    NODE_RANK, PASSERELLE_ATTEMPT_DIR, ...
    """

    tasks_per_node: int
    processes_per_task: int
    agent: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    """Proposed to the trainer; a TrainingJob's own variables win."""
    variables: tuple[tuple[str, str], ...] = ()
    """The launcher's contract with the trainer; these win."""
    mpi: str | None = "none"
    """srun's --mpi; None leaves it to the site's default."""
    is_body: bool = False
    """The command runs once, on the first node, outside the image; its own srun lines start the tasks."""
