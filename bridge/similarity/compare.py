"""Compare two sets of states in a notebook, by the measures of this package or one's own, under the same nulls."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from bridge.errors import FitError
from bridge.permutations import permutations
from bridge.similarity.calibration import Calibrated, calibrate
from bridge.similarity.measures import DEFAULT_MEASURES, MEASURES
from bridge.similarity.scorer import Options, Scorer
from bridge.similarity.scorers import SCORERS
from bridge.similarity.states import LayerStates, layer_states

Function = Callable[[Tensor, Tensor], float]


def compare(
    source: Tensor | Sequence[Tensor],
    target: Tensor | Sequence[Tensor],
    measures: Sequence[str] = DEFAULT_MEASURES,
    functions: Mapping[str, Function] | None = None,
    labels: Tensor | None = None,
    n_permutations: int = 100,
    seed: int = 0,
    options: Options | None = None,
) -> dict[str, Calibrated]:
    """Score layers against layers, beside the scores of permuted rows.

    Args:
        source: (n, d_source), or S layers of it.
        target: (n, d_target), or T layers of it; row i of all from the same item.
        measures: names in `MEASURES`.
        functions: name -> a function of X (n, d_source) and Y (n, d_target), float64, whose value is at most 1 and
            larger the more alike they are. It is called for every permutation and pair of layers.
        labels: (n,) integers, such as a relation: adds the null "shuffled_within", of rows permuted inside their label.
        n_permutations: of each null; with fewer than 19 no calibrated score is above 0.
        seed: of the permutations.
        options: of the measures.

    Returns:
        name -> scores (S, T) and nulls, "shuffled" and with labels "shuffled_within".

    Raises:
        FitError: no measures, unknown ones, two of one name, a value above 1 or NaN, or states that cannot be compared.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> X, Y = torch.randn(30, 4, generator=g), torch.randn(30, 4, generator=g)
        >>> aligned = lambda X, Y: float(torch.nn.functional.cosine_similarity(X, Y).mean())
        >>> scores = compare(X, X + 0.1 * Y, ["cka_linear"], {"aligned": aligned}, n_permutations=19)
        >>> [(name, float(c.nulls["shuffled"].p)) for name, c in scores.items()]
        [('cka_linear', 0.05), ('aligned', 0.05)]
    """
    functions = functions or {}
    unknown, twice = [m for m in measures if m not in MEASURES], [m for m in functions if m in measures]
    if unknown or twice or not (measures or functions):
        problem = f"unknown measure {', '.join(unknown)}" if unknown else f"two measures named {', '.join(twice)}"
        problem = problem if unknown or twice else "no measures"
        raise FitError(
            f"got {problem}; wanted some of {', '.join(MEASURES)}, or functions of other names: change one of the two"
        )
    S, T = (
        layer_states([side] if isinstance(side, Tensor) else list(side), name)
        for side, name in ((source, "source"), (target, "target"))
    )
    options = options or Options()
    kinds = dict.fromkeys(SCORERS[m] for m in measures)
    scorers: list[Scorer] = [kind(S, T, options) for kind in kinds]
    scorers += [FromFunction(S, T, options, name, function) for name, function in functions.items()]
    n, generator = scorers[0].n, torch.Generator().manual_seed(seed)
    pairings = {"shuffled": permutations(n, n_permutations, generator, at_once=True)}
    if labels is not None:
        if labels.shape != (n,):
            raise FitError(f"labels has shape {tuple(labels.shape)}; wanted ({n},): give one label a row")
        pairings["shuffled_within"] = permutations(n, n_permutations, generator, labels.cpu(), at_once=True)
    scores = calibrate(scorers, pairings)
    return {name: scores[name] for name in (*measures, *functions)}


class FromFunction(Scorer):
    """A measure from a function of (X, Y), which is called for every pairing of rows.

    Args:
        source: S layers of n rows.
        target: T layers of n rows.
        options: not used.
        name: of the measure.
        function: of X and Y.
    """

    measures = ("function",)

    def __init__(
        self,
        source: Sequence[LayerStates],
        target: Sequence[LayerStates],
        options: Options,
        name: str,
        function: Function,
    ) -> None:
        self.measures = (name,)  # type: ignore[misc]
        self._function = function
        super().__init__(source, target, options)

    def _prepare(self, source: Sequence[LayerStates], target: Sequence[LayerStates]) -> None:
        self._source, self._target = ([layer.X for layer in side] for side in (source, target))

    def scores(self, permutation: Tensor) -> Tensor:
        """See `Scorer`."""
        permuted = [Y[permutation] for Y in self._target]
        scores = [[float(self._function(X, Y)) for Y in permuted] for X in self._source]
        matrix = torch.tensor(scores, dtype=torch.float64)
        if not bool((matrix <= 1.0 + 1e-9).all()):
            worst = matrix[~(matrix <= 1.0 + 1e-9)][0]
            raise FitError(
                f"{self.measures[0]} gave {float(worst):g}; wanted a number that is at most 1: scale the measure"
            )
        return matrix[None]
