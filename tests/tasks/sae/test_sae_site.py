"""Every condition of one site against plain numbers."""

import numpy as np
import pytest
import torch
from planted import draw, rotation

from bridge.rotations.fits import MatchedRows, fit_rotations, null_rotations
from bridge.rotations.states import Side, SiteStates
from bridge.sae.base import SAE
from bridge.sae.crosscoder import train_crosscoder
from bridge.sae.spec import SAESpec
from bridge.sae.training import train_saes
from bridge.tasks.sae.site import Site, Trained

D, LENGTH, N_FIT, N_HELD = 12, 5, 60, 20


def side(n: int, start: int) -> Side:
    token = torch.arange(n * LENGTH) % 4
    texts = [tuple(token[i * LENGTH : (i + 1) * LENGTH].tolist()) for i in range(n)]
    rows = torch.arange(start, start + n * LENGTH)
    string = torch.arange(n).repeat_interleave(LENGTH)
    return Side([None] * n, torch.arange(n), string, token, rows, texts, [list(range(LENGTH))] * n)  # type: ignore[list-item]


@pytest.fixture(scope="module")
def site() -> Site:
    """Two sets of states that agree up to a rotation and noise, each with another mean."""
    n = (N_FIT + N_HELD) * LENGTH
    X = draw(n, D) * torch.linspace(2, 0.2, D, dtype=torch.float64) + 3
    Y = X @ rotation(D) + 0.2 * draw(n, D, seed=1) - 7
    states = SiteStates([1.0], side(N_FIT, 0), side(N_HELD, N_FIT * LENGTH), {}, {1.0: X.float()}, {1.0: Y.float()})
    fit_x, fit_y = (part.float() for part in states.at(1.0, states.fit))
    made = {
        name: SAESpec(k=3, expansion=4, n_steps=80, batch_size=32, seed=seed, **more)  # type: ignore[arg-type]
        for name, seed, more in (
            ("source", 0, {}), ("target", 1, {}), ("second", 2, {}), ("frozen", 3, {"frozen_decoder": True}),
            ("shared x", 4, {"start_seed": 9}), ("shared y", 5, {"start_seed": 9}),
        )
    }  # fmt: skip
    of_source = {"source", "frozen", "shared x"}
    saes = dict(
        zip(
            made, train_saes([fit_x if name in of_source else fit_y for name in made], list(made.values())), strict=True
        )
    )
    trained = Trained(
        saes["source"], saes["target"], saes["second"], saes["frozen"], (saes["shared x"], saes["shared y"]),
        train_crosscoder(fit_x, fit_y, made["source"]),
    )  # fmt: skip
    read = tuple(torch.nn.functional.one_hot(part.token, 4).double() for part in (states.fit, states.held))
    return Site(states, 1.0, trained, 3, 0, None, read)  # type: ignore[arg-type]


def plain(sae: SAE, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features and reconstruction of a TopK SAE, in numpy."""
    W_enc, b_enc, W_dec, b_dec = (
        getattr(sae, name).numpy().astype(float) for name in ("W_enc", "b_enc", "W_dec", "b_dec")
    )
    pre = (states - b_dec) @ W_enc + b_enc
    least = np.sort(pre, axis=1)[:, -3][:, None]
    features = np.where(pre >= least, np.maximum(pre, 0), 0)
    return features, features @ W_dec + b_dec


def test_every_condition_is_what_plain_numbers_give(site: Site) -> None:
    fit_x, fit_y = (a.numpy() + m.numpy() for a, m in zip((site.rows.X, site.rows.Y), site.means, strict=True))
    x, y = (a.numpy() + m.numpy() for a, m in zip((site.X, site.Y), site.means, strict=True))
    mx, my = fit_x.mean(0), fit_y.mean(0)
    U, _, Vh = np.linalg.svd((fit_x - mx).T @ (fit_y - my))
    R, eye = U @ Vh, np.eye(D)
    t = site.trained
    assert t.frozen is not None
    assert t.shared is not None
    assert t.crosscoder is not None

    def through(sae: SAE, R: np.ndarray) -> np.ndarray:
        return (plain(sae, (y - my) @ R.T + mx)[1] - mx) @ R + my

    one_hot = np.eye(4)
    predicted = np.stack([(fit_y)[site.rows.labels.numpy() == k].mean(0) for k in range(4)])
    expected = {
        "rotated": through(t.source, R),
        "recentred": through(t.source, eye),
        "frozen": through(t.frozen, R),
        "shared_start": through(t.shared[0], eye),
        "raw": plain(t.source, y)[1],
        "native": plain(t.target, y)[1],
        "second": plain(t.second, y)[1],
        "carried": (plain(t.source, x)[1] - mx) @ R + my,
        "inputs": plain(t.target, one_hot[site.held.token.numpy()] @ predicted)[1],
        "crosscoder": t.crosscoder.across(torch.from_numpy(x).float(), 0).numpy(),
    }
    total = np.square(y - my).sum()
    for name, states in expected.items():
        truth = 1 - np.square(states - y).sum() / total
        assert site.branch(name).mean("ev") == pytest.approx(truth, abs=2e-3), name
    assert len({round(site.branch(name).mean("ev"), 4) for name in expected}) == len(expected)


def test_draws_of_a_control_are_its_rotations_and_differ(site: Site) -> None:
    rows = MatchedRows(site.rows.X, site.rows.Y, site.rows.labels)
    y = site.Y.numpy()
    for name in ("random", "shuffled", "shuffled_within", "spectrum"):
        by_draw = site.branch(name).metrics["ev"].mean(1)
        assert len(set(by_draw.tolist())) == 3, name
        for R, ev in zip(null_rotations(name, rows, 3, 0).numpy(), by_draw.tolist(), strict=True):
            mx = site.means[0].numpy()
            states = (plain(site.trained.source, y @ R.T + mx)[1] - mx) @ R
            assert ev == pytest.approx(1 - np.square(states - y).sum() / np.square(y).sum(), abs=2e-3), name
    gaussian = [site._gaussian(torch.Generator().manual_seed(i)) for i in range(200)]
    covariance = torch.cat(gaussian).T.cov()
    truth = site.rows.Y.T @ site.rows.Y / len(site.rows.Y)
    assert float((covariance - truth).abs().max()) < 0.1 * float(truth.max())


def test_sparsity_and_likeness_are_what_plain_numbers_give(site: Site) -> None:
    y, t = site.Y.numpy() + site.means[1].numpy(), site.trained
    R, mx, my = fit_rotations(site.rows.X, site.rows.Y).numpy(), site.means[0].numpy(), site.means[1].numpy()
    own = plain(t.target, y)[0]
    moved = plain(t.source, (y - my) @ R.T + mx)[0]
    totals = {
        name: {k: v["mean"] for k, v in site.branch(name).totals.items()} for name in ("rotated", "native", "second")
    }
    assert totals["native"]["l0"] == pytest.approx((own > 0).sum(1).mean(), abs=0.02)
    assert totals["rotated"]["dead_share"] == pytest.approx((moved > 0).any(0).__invert__().mean(), abs=0.03)
    directions = (t.source.W_dec.numpy() @ R)[(moved > 0).any(0)]
    others = t.target.W_dec.numpy()[(own > 0).any(0)]
    a, b = (W / np.linalg.norm(W, axis=1, keepdims=True) for W in (directions, others))
    assert totals["rotated"]["cosine_best"] == pytest.approx((a @ b.T).max(1).mean(), abs=0.01)
    assert totals["rotated"]["cosine_above_half"] == pytest.approx(((a @ b.T).max(1) > 0.5).mean(), abs=0.03)
    varies = moved.std(0) > 0
    c = np.corrcoef(moved[:, varies].T, own[:, own.std(0) > 0].T)[: varies.sum(), varies.sum() :]
    assert totals["rotated"]["firing"] == pytest.approx(c.max(1).mean(), abs=0.01)
    assert "cosine_best" not in totals["native"]
