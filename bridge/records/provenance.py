"""The provenance of a record: package versions and the commit of the checkout."""

import hashlib
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "transformers", "numpy", "scipy", "hydra-core", "omegaconf")


@cache
def source_hash() -> str:
    """A sha256 over the source of bridge as it is on disk."""
    here = Path(__file__).resolve().parents[1]
    total = hashlib.sha256(version("bridge-llm").encode())
    for path in sorted(here.rglob("*.py")):
        total.update(path.read_bytes())
    return total.hexdigest()


@cache
def provenance() -> dict[str, Any]:
    """Package versions, and the commit of the checkout that bridge runs from (null outside one)."""
    here = Path(__file__).resolve().parents[1]

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    inside = git("ls-files", "--error-unmatch", "run.py") is not None
    status = git("status", "--porcelain", "--", str(here)) if inside else None
    return {
        "versions": {"bridge": version("bridge-llm"), "python": platform.python_version()}
        | {p: version(p) for p in PACKAGES},
        "commit": git("rev-parse", "HEAD") if inside else None,
        "dirty": bool(status) if status is not None else None,
    }
