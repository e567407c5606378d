"""Negative controls: the same fit on permuted rows."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.controls.base import Carried, Control
from bridge.results.conditions import Look

if TYPE_CHECKING:
    from torch import Tensor

    from bridge.carry.carrier import Carrier


@dataclass(frozen=True)
class Shuffled(Control):
    """The same fit on rows of the target that were permuted.

    Source: Good (2005), "Permutation, Parametric and Bootstrap Tests of Hypotheses", section 3.
    """

    name: str = "shuffled"
    rules_out: str = "that matching means and spectra suffice: the same fit on permuted rows"
    drawn: bool = True
    fits: bool = True
    heading: str = "shuf-\nfled"
    look: Look | None = Look("#56b4e9", "s")
    order: int = 2

    def labels(self, carrier: "Carrier") -> "Tensor | None":
        """Labels (n,) to permute within; None to permute freely."""
        return None

    def states(self, carrier: "Carrier", rows: Carried) -> "Tensor":
        """The source's states through the fit on each permutation."""
        import torch

        from bridge.permutations import permutations

        Z, fit = carrier.source_.transform(rows.X), carrier.fit_rows
        generator = carrier.generator(self.name)
        moved = permutations(len(fit), carrier.n_draws, generator, self.labels(carrier)).to(Z.device)
        if carrier.trainer is not None:
            return carrier.back(torch.stack([m.transform(Z) for m in carrier.fits(moved)]), rows.X)
        X, Y = carrier.source_.transform(fit.X), carrier.target_.transform(fit.Y)
        return carrier.back(carrier.map.transform_permuted(X, Y, moved, Z, fit.groups), rows.X)


@dataclass(frozen=True)
class ShuffledWithin(Shuffled):
    """The same fit on rows of the target that were permuted inside each relation: a stratified permutation.

    Source: Good (2005), "Permutation, Parametric and Bootstrap Tests of Hypotheses", section 3 (blocks).
    """

    name: str = "shuffled_within"
    rules_out: str = "that only the kind of answer carries over: the same fit on rows permuted inside each relation"
    heading: str = "shuf.\nwith-\nin"
    look: Look | None = Look("#0072b2", "D")
    order: int = 3

    def labels(self, carrier: "Carrier") -> "Tensor | None":
        """The relations of the fit rows."""
        return carrier.relations_

    def why_absent(self, carrier: "Carrier") -> str | None:
        """Absent where no two fit rows share a relation."""
        from bridge.carry.draws import within

        return within(carrier.fit_rows.relations)[1] if carrier.relations_ is None else None
