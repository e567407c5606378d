"""One site: the source's SAE on the target's states, in every condition."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from bridge.activations.putting import losses_with
from bridge.models.loading import LoadedModel
from bridge.results.scores import Branch
from bridge.rotations.fits import NULLS, MatchedRows, fit_rotations, null_rotations
from bridge.rotations.inputs import predict
from bridge.rotations.scores import by_string
from bridge.rotations.states import SiteStates
from bridge.sae.base import SAE
from bridge.sae.crosscoder import Crosscoder
from bridge.sae.measures import dead, decoder_cosines, firing_correlation, l0
from bridge.seeds import seeded

# Draws of a control for which more is computed than explained variance.
N_DESCRIBED = 2
# The least loss, in nats a token, that the mean state in place of every state must cost.
LEAST_LOSS = 1e-3


@dataclass(frozen=True)
class Trained:
    """The SAEs of one site.

    Attributes:
        source: the source's.
        target: the target's own.
        second: another one of the target.
        frozen: of the source, with a frozen random decoder.
        shared: one of the source and one of the target that were started alike.
        crosscoder: of both.
    """

    source: SAE
    target: SAE
    second: SAE
    frozen: SAE | None
    shared: tuple[SAE, SAE] | None
    crosscoder: Crosscoder | None


@dataclass(frozen=True)
class Outcome:
    """What one draw of a condition gives for the held-out rows.

    Attributes:
        states: (m, d) reconstructions, centered as the target's rows are.
        features: (m, n_features); None where there are none to compare.
        decoder: (n_features, d) in the target's basis; None alike.
        own: (m, d) the rows that were reconstructed, where they are not the target's own.
    """

    states: Tensor
    features: Tensor | None = None
    decoder: Tensor | None = None
    own: Tensor | None = None


class Site:
    """One site of a cell.

    Args:
        states: of all sites.
        depth: of this one.
        trained: its SAEs.
        n_draws: of each random control.
        seed: of the cell.
        lm: the target, to put reconstructions into; None for no loss.
        read: features of the tokens of the strings to fit on, and of the others.
    """

    def __init__(
        self,
        states: SiteStates,
        depth: float,
        trained: Trained,
        n_draws: int,
        seed: int,
        lm: LoadedModel | None,
        read: tuple[Tensor, Tensor],
    ) -> None:
        self.depth, self.trained, self.n_draws, self.seed, self.lm = depth, trained, n_draws, seed, lm
        self.read = read
        X, Y = states.at(depth, states.fit)
        self.means = X.mean(0), Y.mean(0)
        self.rows = MatchedRows(X - self.means[0], Y - self.means[1], states.fit.token)
        self.X, self.Y = (a - mean for a, mean in zip(states.at(depth, states.held), self.means, strict=True))
        self.held = states.held
        # An SAE is float32, and so is everything that goes through it.
        self.x, self.y = self.X.float(), self.Y.float()
        self.mean_x, self.mean_y = (mean.float() for mean in self.means)
        self.R = fit_rotations(self.rows.X, self.rows.Y, seed)

    @torch.no_grad()
    def branch(self, name: str) -> Branch:
        """The scores of a condition."""
        n_draws = self.n_draws if name in (*NULLS, "gaussian") else 1
        rotations = null_rotations(name, self.rows, n_draws, self.seed) if name in NULLS else None
        generator = seeded(self.seed, name)
        strings: list[Tensor] = []
        totals: dict[str, list[float]] = {}
        for draw in range(n_draws):
            outcome = self._outcome(name, self.R if rotations is None else rotations[draw], generator)
            own = self.y if outcome.own is None else outcome.own
            strings.append(by_string(outcome.states - own, own, self.held.string, len(self.held.items)))
            if draw < N_DESCRIBED:
                for metric, value in self._described(name, outcome).items():
                    totals.setdefault(metric, []).append(value)
        return Branch({"ev": torch.stack(strings)}, {metric: _summary(some) for metric, some in totals.items()})

    def _outcome(self, name: str, R: Tensor, generator: torch.Generator) -> Outcome:
        trained, R = self.trained, R.float()
        if name in ("rotated", *NULLS):
            return self._through(trained.source, self.y, R)
        identity = torch.eye(len(R))
        if name == "recentred":
            return self._through(trained.source, self.y, identity)
        if name == "frozen":
            assert trained.frozen is not None
            return self._through(trained.frozen, self.y, R)
        if name == "shared_start":
            assert trained.shared is not None
            return self._through(trained.shared[0], self.y, identity)
        if name == "gaussian":
            own = self._gaussian(generator)
            return Outcome(self._through(trained.source, own, R).states, own=own)
        if name == "carried":
            features = trained.source.encode(self.x + self.mean_x)
            return Outcome((trained.source.decode(features) - self.mean_x) @ R, features)
        if name == "crosscoder":
            assert trained.crosscoder is not None
            return Outcome(trained.crosscoder.across(self.x + self.mean_x, 0) - self.mean_y)
        if name == "inputs":
            predicted = predict(self.read[0], self.rows.Y, self.read[1]).float()
            return Outcome(trained.target(predicted + self.mean_y) - self.mean_y)
        sae = {"raw": trained.source, "native": trained.target, "second": trained.second}[name]
        features = sae.encode(self.y + self.mean_y)
        return Outcome(sae.decode(features) - self.mean_y, features, sae.W_dec)

    def _through(self, sae: SAE, Y: Tensor, R: Tensor) -> Outcome:
        """An SAE of the source on centered states of the target that are rotated back into the source and forth."""
        features = sae.encode(Y @ R.T + self.mean_x)
        return Outcome((sae.decode(features) - self.mean_x) @ R, features, sae.W_dec @ R)

    def _gaussian(self, generator: torch.Generator) -> Tensor:
        """As many rows as are held out, of the covariance that the target's rows have in the fit."""
        noise = torch.randn(self.y.shape, generator=generator)
        return noise @ self._root.float()

    @cached_property
    def _root(self) -> Tensor:
        """A root of the covariance of the target's rows."""
        values, vectors = torch.linalg.eigh(self.rows.Y.T @ self.rows.Y / len(self.rows.Y))
        return values.clamp_min(0).sqrt()[:, None] * vectors.T

    def _described(self, name: str, outcome: Outcome) -> dict[str, float]:
        """Sparsity, likeness to the target's own features, and the loss that the reconstructions recover."""
        described: dict[str, float] = {}
        if outcome.features is not None:
            described |= {"l0": l0(outcome.features), "dead_share": dead(outcome.features)}
            if name not in ("native", "shared_start"):
                # Features that never fire have no pattern.
                firing = firing_correlation(outcome.features, self._target_features)
                if not bool(firing.isnan().all()):
                    described["firing"] = float(firing.nanmean())
        if outcome.decoder is not None and name != "native":
            shared = self.trained.shared
            beside = shared[1] if name == "shared_start" and shared is not None else self.trained.target
            # Features that never fire keep the directions that they started from.
            own, others = _alive(outcome.features), _alive(beside.encode(self.y + self.mean_y))
            cosines = decoder_cosines(outcome.decoder[own], beside.W_dec[others])
            if len(cosines.best):
                described |= {
                    "cosine_best": float(cosines.best.mean()),
                    "cosine_matched": float(cosines.matched.mean()),
                    "cosine_above_half": float((cosines.best > 0.5).double().mean()),
                }
        if self.lm is not None and outcome.own is None and self._loss_of_mean > LEAST_LOSS:
            described["loss_recovered"] = 1 - self._loss_above_own(outcome.states) / self._loss_of_mean
        return described

    @cached_property
    def _target_features(self) -> Tensor:
        return self.trained.target.encode(self.y + self.mean_y)

    @cached_property
    def _own_losses(self) -> Tensor:
        assert self.lm is not None
        return losses_with(self.lm, self.held.texts, self.held.places, self.depth, None)

    def _loss_above_own(self, states: Tensor) -> float:
        """The mean loss with centered states (m, d) at the site, minus that of the model as it is."""
        assert self.lm is not None
        losses = losses_with(self.lm, self.held.texts, self.held.places, self.depth, states + self.mean_y)
        return float((losses - self._own_losses).mean())

    @cached_property
    def _loss_of_mean(self) -> float:
        return self._loss_above_own(torch.zeros_like(self.y))

    @cached_property
    @torch.no_grad()
    def own_ev(self) -> float:
        """Explained variance of the source's SAE on the source's own held-out states."""
        sae = self.trained.source
        error = sae(self.x + self.mean_x) - self.mean_x - self.x
        return float(1 - error.square().sum() / self.x.square().sum())

    @cached_property
    @torch.no_grad()
    def planted(self) -> float:
        """How far the source's SAE, rotated, explains a rotated copy of the source differently from the source."""
        R = null_rotations("random", self.rows, 1, self.seed + 1)[0]
        moved = (self.X @ R).float()
        fitted = fit_rotations(self.rows.X, self.rows.X @ R, self.seed)
        error = self._through(self.trained.source, moved, fitted.float()).states - moved
        return abs(float(1 - error.square().sum() / moved.square().sum()) - self.own_ev)


def _alive(features: Tensor | None) -> Tensor:
    """Which of the features (m, n_features) fire on any row."""
    assert features is not None
    return (features > 0).any(0)


def _summary(values: list[float]) -> dict[str, Any]:
    """Mean and range of a number over draws."""
    if len(values) == 1:
        return {"mean": values[0], "low": None, "high": None}
    return {
        "mean": sum(values) / len(values), "low": min(values), "high": max(values), "n_draws": len(values),
        "draws": values,
    }  # fmt: skip
