"""A store of extracted states on disk: states are extracted once, and checked by their checksum when they are read."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bridge.activations.entries import DATA, FORMAT_VERSION, META, entry_name, readable, sound
from bridge.activations.extract import estimate_bytes, extract
from bridge.errors import StoreError
from bridge.models.encoding import Text
from bridge.models.loading import LoadedModel
from bridge.records.whole import whole_folder

log = logging.getLogger(__name__)


class Store:
    """A folder of states, one entry per layer; the key of an entry is a hash of its inputs.

    The inputs are the model's fingerprint (weights or commit, and tokenizer), the exact
    texts or token ids, the position, the dtype, the way attention is computed, the layer, the version of
    transformers and the format version. An entry is written once, under a lock,
    to a temporary name and then renamed. It is memory-mapped afterwards; changing the tensor never changes
    the file. Its checksum is verified when a process first opens it. A damaged entry is warned about and made
    again.

    Args:
        root: the folder; made when the first states are stored.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def states(
        self,
        fingerprint: str,
        load: Callable[[], LoadedModel],
        texts: Sequence[Text],
        layers: Sequence[float],
        position: str = "last",
        positions: Sequence[Sequence[int]] | None = None,
        dtype: str = "float32",
        attn_implementation: str | None = None,
        batch_size: int = 64,
    ) -> dict[float, Tensor]:
        """The states `extract` would give: read from disk where stored, and extracted in one pass otherwise.

        Args:
            fingerprint: of the model, from `bridge.models.fingerprint`.
            load: loads the model; called only when an entry is missing.
            dtype: the name under which the model is loaded, a part of the key.
            attn_implementation: as the model is loaded with it, a part of the key; None, the library's own choice,
                is another value than the name of what it chooses.

        Returns:
            {layer: states}, memory-mapped.

        Raises:
            StoreError: the folder cannot be written, its disk is full, or `load` gave another model.
        """
        shared = (position, positions, dtype, attn_implementation)
        keys = {layer: entry_name(fingerprint, texts, layer, *shared) for layer in layers}
        stored = {layer: states for layer, key in keys.items() if (states := self._read(key)) is not None}
        if len(stored) < len(keys):
            with self._locked(entry_name(fingerprint, texts, None, *shared)):
                for layer in keys.keys() - stored.keys():
                    if (states := self._read(keys[layer], warn=True)) is not None:
                        stored[layer] = states
                missing = sorted(keys.keys() - stored.keys())
                if missing:
                    lm = self._loaded(load, fingerprint)
                    self._announce(lm, len(texts), missing, estimate_bytes(lm, texts, missing, position, positions))
                    about = {
                        "fingerprint": fingerprint,
                        "position": position,
                        "dtype": dtype,
                        "attn_implementation": attn_implementation,
                        "transformers": version("transformers"),
                    }
                    extracted = extract(lm, texts, missing, position, positions, batch_size)
                    for layer in missing:
                        self._write(keys[layer], extracted[layer], {**about, "layer": layer, "n_texts": len(texts)})
                        kept = self._read(keys[layer])
                        stored[layer] = extracted.pop(layer) if kept is None else kept
        return {layer: stored[layer] for layer in keys}

    def _read(self, key: str, warn: bool = False) -> Tensor | None:
        """The states of an entry, or None when there is none or it is damaged."""
        folder = self.root / key
        try:
            with safe_open(sound(folder), "pt") as stored:
                return stored.get_tensor("states")
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            if warn and folder.exists():
                log.warning("%s is damaged (%s: %s) and is made again", folder, type(error).__name__, error)
            return None

    def _write(self, key: str, states: Tensor, about: dict[str, object]) -> None:
        """Write an entry whole or not at all."""
        try:
            with whole_folder(self.root / key) as folder:
                save_file({"states": states.contiguous()}, folder / DATA)
                with (folder / DATA).open("rb") as stream:
                    checksum = hashlib.file_digest(stream, "sha256").hexdigest()
                meta = {"format_version": FORMAT_VERSION, **about, "shape": list(states.shape), "sha256": checksum}
                (folder / META).write_text(json.dumps(meta, indent=1) + "\n")
        except (OSError, SafetensorError) as error:
            raise self._refused(error, states.nbytes) from error

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        lock = FileLock(self.root / ".locks" / f"{key}.lock")
        try:
            (self.root / ".locks").mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except OSError as error:
            raise self._refused(error, 0) from error
        try:
            yield
        finally:
            lock.release()

    def _loaded(self, load: Callable[[], LoadedModel], fingerprint: str) -> LoadedModel:
        lm = load()
        if lm.fingerprint != fingerprint:
            raise StoreError(
                f"the model {lm.fingerprint} was loaded for states of {fingerprint}; wanted the same model in both "
                "places: give name and revision of one and the same model"
            )
        return lm

    def _announce(self, lm: LoadedModel, n_texts: int, layers: list[float], n_bytes: int) -> None:
        """Log the size of an extraction, and refuse it beforehand when the disk has no room."""
        log.info("extracting %d texts at layers %s of %s: %s", n_texts, layers, lm.name, readable(n_bytes))
        if shutil.disk_usage(self.root).free < n_bytes:
            raise self._refused(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), n_bytes)

    def _refused(self, error: Exception, n_bytes: int) -> StoreError:
        text = str(error)
        if "No space left" in text or "quota" in text:
            return StoreError(
                f"{self.root} has no space left for {readable(n_bytes)} of states; wanted that much free space: free "
                "some, or choose another folder for the store (nothing half-written was left)"
            )
        return StoreError(
            f"{self.root} cannot be written ({text}); wanted a writable folder: choose another one for the store"
        )
