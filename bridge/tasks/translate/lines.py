"""Lines below the table of one cell: states, whole answers, chance, the fit and its training."""

from bridge.results.comparison import Comparison
from bridge.results.verdicts import counted


def lines(c: Comparison) -> list[str]:
    """The lines that apply to the cell."""
    return [line for line in (_states(c), _whole(c), _chance(c), _fit(c), _training(c)) if line]


def _states(c: Comparison) -> str | None:
    scored = {n: s["explained_variance"] for n, s in c.scores.items() if "explained_variance" in s}
    if c.estimate not in scored:
        return None
    each = ", ".join(f"{name} {score['mean']:.2f}" for name, score in scored.items())
    return f"held-out explained variance of the states: {each}"


def _whole(c: Comparison) -> str | None:
    each = ", ".join(
        f"{n} {s['token_f1']['mean']:.2f}/{s['exact_match']['mean']:.2f}/{s['answer_logprob_nats']['mean']:.1f}"
        for n, s in c.scores.items()
        if "token_f1" in s
    )
    return f"whole answers, token F1/exact match/log-prob in nats: {each}" if each else None


def _chance(c: Comparison) -> str:
    chance = c.data["chance"]
    return (
        f"chance: log-prob {chance['uniform_logprob_nats']:.2f} (uniform), {chance['prior_logprob_nats']:.2f} (answers "
        f"as often as in the fit), top-1 {chance['commonest_top1']:.3f} (always the commonest answer)"
    )


def _fit(c: Comparison) -> str:
    fit = c.data["fit"]
    # A saved map has no cycle consistency, as no map back is fitted.
    cycle = fit.get("cycle")
    back = (
        ""
        if cycle is None
        else (
            f"; there and back: relative error {cycle['relative_error']:.2f}, of permuted rows "
            f"{cycle['permuted_relative_error']:.2f} (mean: 1)"
        )
    )
    return (
        f"fit: {fit['n_rows']} rows, {fit['n_parameters']:,} parameters, rank {fit['rank']}, n/d {fit['n_over_d']:.2f}"
        f", {fit['eval_variance_outside_span']:.1%} of the eval variance outside the fitted span{back}; lookup takes "
        f"{counted(fit['lookup_neighbours'], 'neighbour')}"
    )


def _training(c: Comparison) -> str | None:
    training = c.data["fit"].get("training")
    if not training:
        return None
    return (
        f"trained through the target: held-back loss {training['start_loss_nats']:.2f} -> "
        f"{training['held_loss_nats']:.2f} nats (chance {-c.data['chance']['prior_logprob_nats']:.2f}), "
        f"kept step {training['best_step']} of {training['n_steps']}"
    )
