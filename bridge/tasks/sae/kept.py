"""SAEs of one model at one site: trained once, and kept in the artefact store."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from bridge.records.artefacts import Artefacts
from bridge.sae.base import SAE
from bridge.sae.formats import load_sae, save_sae
from bridge.sae.spec import SAESpec
from bridge.sae.training import train_saes

KIND, RECIPE = "sae", 1
# SAEs that are trained together, and then stored: what a stopped run loses.
TOGETHER = 4


@dataclass(frozen=True)
class Wanted:
    """An SAE that a cell needs.

    Attributes:
        X: (n, d) the states that it is trained on.
        about: what decides these states: model, texts, site.
        spec: how it is trained.
    """

    X: Tensor
    about: dict[str, Any]
    spec: SAESpec

    @property
    def made_from(self) -> dict[str, Any]:
        """Everything that decides its weights, as the key of the artefact store."""
        return {"recipe": RECIPE, "states": self.about, "spec": asdict(self.spec)}


def ensure_saes(wanted: Sequence[Wanted], store: Artefacts) -> list[SAE]:
    """The SAEs, read from the store; those that are missing are trained and stored there, a few together.

    Raises:
        FitError: states that no SAE can be trained on.
        StoreError: the store cannot be written.
    """
    missing = list({store.path(KIND, w.made_from): w for w in wanted if store.find(KIND, w.made_from) is None}.values())
    bar = tqdm(total=len(missing), desc="train SAEs", delay=2.0, leave=False, disable=None)
    with bar:
        for at in range(0, len(missing), TOGETHER):
            some = missing[at : at + TOGETHER]
            made = train_saes([w.X.float() for w in some], [w.spec for w in some])
            for one, sae in zip(some, made, strict=True):

                def save(folder: Path, sae: SAE = sae) -> None:
                    save_sae(sae, folder)

                store.ensure(KIND, one.made_from, save)
            bar.update(len(some))
    return [load_sae(store.path(KIND, w.made_from)) for w in wanted]


def seed_of(fingerprint: str, role: str, seed: int) -> int:
    """A seed of an SAE's own: SAEs of two models, and two SAEs of one, share no random number."""
    return int(hashlib.sha256(f"{fingerprint} {role} {seed}".encode()).hexdigest()[:8], 16)


def rows_hash(texts: Sequence[tuple[int, ...]]) -> str:
    """A hash of the strings that states are of."""
    return hashlib.sha256(str(list(texts)).encode()).hexdigest()[:16]


def weights_hash(sae: SAE) -> str:
    """A hash of an SAE's weights."""
    total = hashlib.sha256()
    for name, tensor in sorted(sae.state_dict().items()):
        total.update(name.encode() + tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()[:16]
