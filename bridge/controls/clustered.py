"""A mark: random states that tell only which items share an answer."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bridge.controls.base import Carried, Control
from bridge.errors import FitError
from bridge.results.conditions import Kind, Look

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from bridge.carry.carrier import Carrier

# A mark is not ranked, so a few draws are enough; each draw is a fit.
N_DRAWS = 5


@dataclass(frozen=True)
class Clustered(Control):
    """Random states, one for each answer, in place of the source's.

    Source: the clustered random representations of Smith et al. (2025), "Functional alignment can mislead", ICML.
    """

    name: str = "clustered"
    kind: Kind = "mark"
    rules_out: str = (
        "that knowing which items share an answer would do: random states, one for each answer, in place of the "
        "source's, fitted alike. It uses the answers, so it is a mark to read a score against, not one to beat"
    )
    drawn: bool = True
    fits: bool = True
    heading: str = "clus-\ntered"
    what: str = "knowing only which items share an answer"
    look: Look | None = Look("#6a9a12", "d", (6, 2, 1, 2))

    def states(self, carrier: "Carrier", rows: Carried) -> "Tensor":
        """The random states of each draw, mapped by a map that is fitted on them.

        Raises:
            FitError: rows without answers.
        """
        import torch

        if rows.answers is None:
            raise FitError("control clustered has no answers; wanted (m,) integers, as in the fit rows: give answers")
        generator = carrier.generator(self.name)
        n_draws = min(N_DRAWS, carrier.n_draws)
        return torch.cat([_states(carrier, rows.answers, rows.Y, generator) for _ in range(n_draws)])

    def why_absent(self, carrier: "Carrier") -> str | None:
        """Absent where all fit rows have one answer."""
        answers = carrier.fit_rows.answers
        if not bool((answers == answers[0]).all()):
            return None
        return "all fit rows have one answer, so there is nothing to tell apart"


def _states(carrier: "Carrier", answers: "Tensor", Y: "Tensor", generator: "Generator") -> "Tensor":
    """One draw: (1, m, d_target) for answers (m,) and the target's own states Y (m, d_target)."""
    import torch

    fit = carrier.fit_rows
    n_answers = 1 + int(torch.maximum(fit.answers.max(), answers.max()))
    codes = torch.randn(n_answers, fit.X.shape[1], dtype=torch.float64, generator=generator).to(fit.X.device)
    centered = fit.X - fit.X.mean(0)
    states = fit.X.mean(0) + codes * (centered.square().sum() / centered.numel()).sqrt()
    return carrier.like(replace(fit, X=states[fit.answers])).carry("fitted", states[answers], Y)
