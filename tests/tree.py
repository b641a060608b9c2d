"""What lies here, by git: its commit, a hash of its files, and what is drawn by either."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def commit() -> str:
    """The hash of the commit that lies here; empty where there is none."""
    words = ["git", "rev-parse", "HEAD"]
    return subprocess.run(words, cwd=REPOSITORY, check=False, capture_output=True, text=True).stdout.strip()


def tree_hash(*under: str) -> str:
    """SHA-256 over every file that git tracks or would track, by name and content; of these folders, or of all."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *under],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    ).stdout
    digest = hashlib.sha256()
    for name in sorted(set(listed.decode().split("\0")) - {""}):
        path = REPOSITORY / name
        if path.is_file():
            digest.update(f"{name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def drawn(seed: str, words: Sequence[str], count: int) -> tuple[str, ...]:
    """Words drawn by a seed: the same for the same seed, over time all of them."""
    return tuple(sorted(words, key=lambda word: hashlib.sha256(f"{seed}/{word}".encode()).digest())[:count])
