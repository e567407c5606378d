"""The real records that nulls are built from, and their states."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from bridge.carry.rows import Rows
from bridge.config import compose_config
from bridge.data.splitting import split
from bridge.results.items import item_scores
from bridge.results.scores import Branch, Part
from bridge.run import run
from bridge.session import Session
from bridge.tasks.translate import TASK
from bridge.tasks.translate.rows import cell_rows

N_DRAWS = 40
METRICS = ("top1", "logprob_nats")
NEGATIVES = TASK.conditions.negatives
CONTROLS = ("fitted", *NEGATIVES, "lookup", "native_target")
# A condition that the estimate is neither tested against nor ranked among.
REFERENCE = TASK.conditions["native_target"]
SIZES, LAYERS = (60, 200, 560), (2, 3, 4)
# Ten cells: three curves over layers, and one cell with another injection.
GRID = (
    *((f"layer={layer}", "injection=lm_head", f"dataset.size={n}") for n in SIZES for layer in LAYERS),
    ("layer=2", "injection=late_layer", "dataset.size=560"),
)
# Every wording of a tenth of the facts.
WORDINGS = (
    *("dataset=facts_all", "dataset.size=1000", "layer=2", "injection=late_layer"),
    *("dataset.split.by=subject", "dataset.split.eval_size=null", "dataset.split.eval_fraction=0.1"),
)


@dataclass(frozen=True)
class Scores:
    """Per-item scores of one record.

    Attributes:
        branches: control -> scores, (n_draws, m) a metric.
        units: (m,) integer unit of each item.
    """

    branches: dict[str, Branch]
    units: Tensor

    @cached_property
    def rows(self) -> list[Tensor]:
        """The items of each unit."""
        return [torch.where(self.units == unit)[0] for unit in self.units.unique()]

    @property
    def n_units(self) -> int:
        return len(self.rows)

    def resampled(self, n_units: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Items (k,) of units drawn with replacement, and their units (k,), in which a repeat is another unit."""
        drawn = [self.rows[i] for i in torch.randint(self.n_units, (n_units,), generator=generator).tolist()]
        units = torch.arange(n_units).repeat_interleave(torch.tensor([len(rows) for rows in drawn]))
        return torch.cat(drawn), units

    def score(self, control: str, metric: str, draw: int | None = None) -> Tensor:
        """(m,) the score of one draw, or the mean over the draws."""
        scores = self.branches[control].metrics[metric].double()
        return scores.mean(0) if draw is None else scores[draw]


def part(units: Tensor, n_resamples: int, seed: int) -> Part:
    """All items, split as in a record."""
    every = torch.ones_like(units, dtype=torch.bool)
    masks = {("items", "token"): every, ("items", "whole"): every}
    return Part({"items": units}, masks, n_resamples, seed)


def scores(session: Session, *overrides: str) -> Scores:
    """The scores of one cell, which is computed unless there is a record."""
    words = (*overrides, f"control.n_draws={N_DRAWS}", f"paths.outputs={session.outputs}")
    metrics = [TASK.by_name[name] for name in METRICS]
    items = item_scores([run(compose_config(*words), session)], TASK, CONTROLS, metrics)
    return Scores(items.branches, items.units["items"])


def states(session: Session, layer: int, size: int) -> tuple[Rows, Tensor, Tensor]:
    """Rows to fit on, and eval states of source and target, of one cell of the grid."""
    config = compose_config(f"layer={layer}", f"dataset.size={size}", f"paths.outputs={session.outputs}")
    rosetta, by = session.rosetta(config), config.dataset.split
    parts = split(rosetta.items, by.by.value, size, by.eval_fraction, by.eval_size, config.seed)
    rows = cell_rows(config, session, rosetta, parts, {"source": layer, "target": layer}, 1)
    return rows.fit, rows.evaluation.X[:, -1], rows.evaluation.Y[:, -1]
