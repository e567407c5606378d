"""The artefact store: trained models and fitted maps, stored under a hash of what they were made from."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.errors import StoreError
from bridge.records.whole import locked, whole_folder, writing

FORMAT = 1
ABOUT = "artefact.json"
log = logging.getLogger("bridge")

# (path, bytes, modification time in ns) of files whose checksum this process has seen to be right.
_verified: set[tuple[str, int, int]] = set()


@dataclass(frozen=True)
class Artefact:
    """An entry of the store.

    Attributes:
        kind: "model", "sae", "map", ...
        key: sixteen hex digits of the hash of `made_from`; the name of its folder.
        folder: holds its files and artefact.json.
        made_from: what decides its content: spec, inputs, version of the recipe.
        n_bytes: of its files.
    """

    kind: str
    key: str
    folder: Path
    made_from: dict[str, Any]
    n_bytes: int


class Artefacts:
    """A folder for each kind, and in it one for each artefact, named by the hash of what it was made from.

    An artefact is made once: under a lock, in a temporary folder that is then renamed. Sizes and checksums of its files
    are verified when a process first asks for it. A damaged artefact causes a warning and is made again.

    Args:
        root: the folder; made with the first artefact.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     store = Artefacts(root)
        ...     made = store.ensure("map", {"seed": 0}, lambda folder: (folder / "a").write_text("x"))
        ...     store.find("map", {"seed": 0}) == made, store.find("map", {"seed": 1})
        (True, None)
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def ensure(
        self, kind: str, made_from: Mapping[str, Any], make: Callable[[Path], object], again: bool = False
    ) -> Path:
        """The folder of an artefact, made unless it is there.

        Args:
            kind: what it is; names a folder.
            made_from: what decides its content, as JSON holds it.
            make: writes its files into the empty folder that it is given.
            again: make it even if it exists.

        Raises:
            StoreError: the store cannot be written or read.
        """
        folder = self.path(kind, made_from)
        if not again and self.find(kind, made_from) is not None:
            return folder
        with self._locked(folder):
            # Another process may have made it meanwhile.
            if again or _damage(folder) is not None:
                with whole_folder(folder) as unfinished:
                    make(unfinished)
                    about = {"format": FORMAT, "kind": kind, "made_from": made_from, "files": _files(unfinished)}
                    (unfinished / ABOUT).write_text(json.dumps(about, indent=1) + "\n")
        return folder

    def find(self, kind: str, made_from: Mapping[str, Any]) -> Path | None:
        """The folder of an artefact, or None where there is none or, with a warning, where it is damaged."""
        folder = self.path(kind, made_from)
        damage = _damage(folder)
        if damage is None:
            return folder
        if folder.exists():
            log.warning("%s is damaged (%s) and is made again", folder, damage)
        return None

    def get(self, kind: str, key: str) -> Path:
        """The folder of an artefact with this key.

        Raises:
            StoreError: there is none, or it is damaged.
        """
        folder = self.root / kind / key
        damage = _damage(folder)
        if damage is None:
            return folder
        if folder.exists():
            raise StoreError(
                f"{folder} is damaged ({damage}); wanted the files as they were written: run again what made it"
            )
        keys = ", ".join(artefact.key for artefact in self.list(kind)) or "none yet"
        raise StoreError(f"no {kind} {key} in {self.root}; wanted one of {keys}: check the key")

    def list(self, kind: str) -> list[Artefact]:
        """The artefacts of a kind, by key; those whose description cannot be read are left out."""
        listed = []
        for path in sorted((self.root / kind).glob(f"[!.]*/{ABOUT}")):
            try:
                about = _about(path.parent)
            except (OSError, ValueError):
                continue
            n_bytes = sum(n for n, _ in about["files"].values())
            listed.append(Artefact(kind, path.parent.name, path.parent, about["made_from"], n_bytes))
        return listed

    def path(self, kind: str, made_from: Mapping[str, Any]) -> Path:
        """Where an artefact lies, or would lie."""
        text = json.dumps([FORMAT, kind, made_from], sort_keys=True)
        return self.root / kind / hashlib.sha256(text.encode()).hexdigest()[:16]

    @contextmanager
    def _locked(self, folder: Path) -> Iterator[None]:
        with writing(self.root, StoreError), locked(folder.parent / ".locks" / folder.name):
            yield


def _files(folder: Path) -> dict[str, list[Any]]:
    """Relative path -> [bytes, sha256] of all files under a folder but its description."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / ABOUT)
    return {path.relative_to(folder).as_posix(): [path.stat().st_size, _sha256(path)] for path in paths}


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _about(folder: Path) -> dict[str, Any]:
    about = json.loads((folder / ABOUT).read_text())
    if not isinstance(about, dict) or about.get("format") != FORMAT or not {"files", "made_from"} <= about.keys():
        raise ValueError(f"{ABOUT} does not describe an artefact of format {FORMAT}")
    return about


def _damage(folder: Path) -> str | None:
    """Why an artefact cannot be used, or None where all of its files are as they were written."""
    try:
        for name, (n_bytes, sha256) in _about(folder)["files"].items():
            path = folder / name
            stat = path.stat()
            seen = (str(path.resolve()), stat.st_size, stat.st_mtime_ns)
            if stat.st_size != n_bytes or (seen not in _verified and _sha256(path) != sha256):
                return f"{name} is not the file that was written"
            _verified.add(seen)
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is gone"
    except PermissionError as error:
        raise StoreError(
            f"{folder} cannot be read ({error.strerror}); wanted a readable folder: give yourself the right to read it"
        ) from error
    except (OSError, ValueError) as error:
        return str(error)
    return None
