"""A cell of task=rotation: a rotation for each site, its controls, and what it looks like."""

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from bridge.activations.sites import site_name
from bridge.data.matrices import orthogonal_matrix
from bridge.errors import ConfigError
from bridge.results.points import PointScores, Result, result_of
from bridge.results.scores import Branch, Part
from bridge.rotations.axes import steps_of
from bridge.rotations.fits import NULLS, MatchedRows, axes, fit_rotations, null_rotations
from bridge.rotations.inputs import InputFeatures, predict
from bridge.rotations.scores import by_band, by_string
from bridge.rotations.shape import distance, rank, split_half
from bridge.rotations.states import SiteStates, alone_error, site_states
from bridge.schema import BridgeConfig
from bridge.schema.rotation import RotationConfig
from bridge.seeds import seeded
from bridge.session import Session
from bridge.statistics.haar import HaarTest, angles, haar_test, plain_ks, to_signed_permutation
from bridge.tasks.rotation.task import BANDS, Rotation

# The widths up to which the signed permutation nearest to one rotation, and to draws of a control, is looked for: at
# 4096 one takes 7 s.
PERMUTATION_AT_MOST, DRAWS_AT_MOST, N_DRAWS = 4096, 512, 5


def compute(config: BridgeConfig, session: Session, inputs: dict[str, str]) -> Result:
    """The result of a cell of task=rotation: one point for each site.

    Args:
        config: of the cell.
        session: the caches that cells share.
        inputs: fingerprints of the weights and items.

    Raises:
        BridgeError: something that a user can put right.
    """
    chosen = config.task
    assert isinstance(chosen, RotationConfig)
    _check(chosen, config.seed)
    given = None if chosen.matrix is None else orthogonal_matrix(chosen.matrix, chosen.matrix_name)
    states = site_states(config, session, chosen.sites)
    bar = tqdm(states.depths, desc="sites", delay=2.0, leave=False, disable=None)
    features = InputFeatures.of(states.fit)
    read = features(states.fit), features(states.held)
    sites = [Site(states, depth, chosen, config.seed, given, read) for depth in bar]
    part = Part.whole(states.held.units, chosen.n_resamples, config.seed)
    step = steps_of(config.pair)
    points = [
        PointScores(
            Rotation(), {"depth": site.depth, "step": step}, {"all": part}, config.dataset.unit.value, site.branch
        )
        for site in sites
    ]
    about = {name: [getattr(item, name) for item in states.held.items] for name in ("prompt", "relation")}
    absent = {} if given is not None else {"given": "no task.matrix was named"}
    names = [name for name in Rotation.conditions if name not in absent]
    result = result_of(points, names, [{"items": about}] * len(points))
    result.absent = absent
    width, n_rows = len(sites[0].R), len(states.fit.rows)
    if n_rows < 2 * width:
        result.warnings.append(f"a rotation of width {width} is fitted on {n_rows} rows; give more strings")
    result.gates = {
        "planted": _at_most(max(site.planted for site in sites), chosen.gates.planted),
        "alone": _at_most(alone_error(config, session, states), chosen.gates.alone),
    }
    result.facts = {
        "models": {"source": session.path(config.pair.source), "target": session.path(config.pair.target)},
        "sites": {site_name(site.depth): site.facts for site in sites},
        "n_rows": {"fit": len(states.fit.rows), "held": len(states.held.rows)},
        "coverage": states.coverage,
    }
    return result


class Site:
    """One site: the fit, the controls, and what they explain of the held-out strings.

    Args:
        states: of all sites.
        depth: of this one.
        config: of the task.
        seed: of the cell.
        given: a matrix from a file, or None.
        inputs: features of the tokens of the strings to fit on, and of the others.
    """

    def __init__(
        self,
        states: SiteStates,
        depth: float,
        config: RotationConfig,
        seed: int,
        given: Any,
        inputs: tuple[Tensor, Tensor],
    ) -> None:
        self.depth, self.config, self.seed, self.inputs = depth, config, seed, inputs
        X, Y = states.at(depth, states.fit)
        self.means = X.mean(0), Y.mean(0)
        self.rows = MatchedRows(X - self.means[0], Y - self.means[1], states.fit.token)
        self.held = tuple(part - mean for part, mean in zip(states.at(depth, states.held), self.means, strict=True))
        self.string, self.n_strings = states.held.string, len(states.held.items)
        self.R = fit_rotations(self.rows.X, self.rows.Y, seed)
        self.given = None if given is None else torch.from_numpy(given).to(self.R)
        if self.given is not None and self.given.shape != self.R.shape:
            raise ConfigError(
                f"task.matrix={config.matrix} has shape {tuple(self.given.shape)}; wanted {tuple(self.R.shape)}, the "
                "width of both models: give another file"
            )
        self.axes = axes(self.rows.Y)
        self.facts = self._facts(states)

    def branch(self, name: str) -> Branch:
        """The scores of a condition."""
        X, Y = self.held
        rotations = self._rotations(name)
        strings, bands = [], []
        for mapped in [self._mapped(name)] if rotations is None else (X @ R for R in rotations):
            error = mapped - Y
            strings.append(by_string(error, Y, self.string, self.n_strings))
            bands.append(by_band(error, Y, self.axes))
        totals = {f"ev_band{i + 1}": _summary(torch.stack(bands)[:, i]) for i in range(len(BANDS))}
        if rotations is not None:
            totals["distance"] = _summary(torch.tensor([distance(R) for R in rotations]))
            if len(self.R) <= (PERMUTATION_AT_MOST if len(rotations) == 1 else DRAWS_AT_MOST):
                nearest = [to_signed_permutation(R.cpu().numpy()) for R in rotations[:N_DRAWS]]
                totals["to_signed_permutation"] = _summary(torch.tensor(nearest))
        return Branch({"ev": torch.stack(strings)}, {k: v for k, v in totals.items() if v is not None})

    def _mapped(self, name: str) -> Tensor:
        """Centered states (m, d) that a condition without a rotation gives for the held-out rows."""
        X, Y = self.held
        if name == "mean":
            return torch.zeros_like(Y)
        if name == "identity":
            return X
        if name == "raw":
            return X + self.means[0] - self.means[1]
        if name == "inputs":
            return predict(self.inputs[0], self.rows.Y, self.inputs[1])
        return X @ torch.linalg.lstsq(self.rows.X, self.rows.Y, driver="gelsd").solution

    def _rotations(self, name: str) -> Tensor | None:
        """The rotations (n_draws, d, d) of a condition; None for one that has none."""
        if name in NULLS:
            return null_rotations(name, self.rows, self.config.n_draws, self.seed)
        if name == "rotated":
            return self.R[None]
        return self.given[None] if name == "given" and self.given is not None else None

    @property
    def planted(self) -> float:
        """How well a known rotation of the target's own states is recovered: largest relative error of a state."""
        Y = self.rows.Y
        turned = Y @ null_rotations("random", self.rows, 1, self.seed + 1)[0]
        error = Y @ fit_rotations(Y, turned, self.seed) - turned
        return float(error.norm(dim=1).max() / Y.norm(dim=1).max())

    def _haar(self, R: Tensor) -> HaarTest:
        return haar_test(R.cpu().numpy(), self.config.n_haar, np.random.default_rng([self.seed, 7]))

    def _facts(self, states: SiteStates) -> dict[str, Any]:
        X, Y = self.rows.X, self.rows.Y
        (shuffled,) = null_rotations("shuffled", self.rows, 1, self.seed)
        haar, beside = self._haar(self.R), self._haar(shuffled)
        d, rank_product = len(self.R), min(rank(X), rank(Y))
        half = torch.randperm(len(states.fit.items), generator=seeded(self.seed, "halves")) % 2 == 0
        return {
            "width": d,
            "rank": {"source": rank(X), "target": rank(Y)},
            "null_share": 1 - rank_product / d,
            "determinant": haar.determinant,
            "angles_rad": [round(float(angle), 4) for angle in angles(self.R.cpu().numpy())],
            "haar": {"p": haar.p, "statistics": haar.statistics, "n_draws": haar.n_draws},
            "haar_of_shuffled": beside.p,
            "plain_ks_p": plain_ks(self.R.cpu().numpy()),
            "plain_ks_p_of_shuffled": plain_ks(shuffled.cpu().numpy()),
            "split_half": asdict(split_half(X, Y, half[states.fit.string], axes(X), self.seed)),
        }


def _summary(values: Tensor) -> dict[str, Any] | None:
    """Mean and range of the draws of a number; None where it is none."""
    if bool(values.isnan().any()):
        return None
    if len(values) == 1:
        return {"mean": float(values[0]), "low": None, "high": None}
    return {
        "mean": float(values.mean()), "low": float(values.min()), "high": float(values.max()),
        "n_draws": len(values), "draws": values.tolist(),
    }  # fmt: skip


def _at_most(value: float, threshold: float) -> dict[str, Any]:
    return {"passed": value <= threshold, "value": value, "threshold": threshold}


def _check(config: RotationConfig, seed: int) -> None:
    if seed < 0:
        raise ConfigError(f"seed={seed} is negative; wanted 0 or more: change it")
    if config.matrix is None and config.matrix_name is not None:
        raise ConfigError(
            f"task.matrix_name={config.matrix_name} names a tensor of no file; wanted task.matrix as well: give both "
            "or neither"
        )
    for name, least in (("n_draws", 2), ("n_haar", 19), ("n_resamples", 100)):
        if getattr(config, name) < least:
            raise ConfigError(f"task.{name}={getattr(config, name)} is too few; wanted at least {least}: raise it")
