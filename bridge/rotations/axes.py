"""The axes of tasks that compare two models site by site, along their training. Needs no torch."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge.activations.sites import site_name
from bridge.results.axes import Axis
from bridge.schema.model import ModelConfig, PairConfig

STEP_KEYS = ("pair.source.zoo.checkpoint", "pair.target.zoo.checkpoint",
             "pair.source.revision", "pair.target.revision")  # fmt: skip


@dataclass(frozen=True)
class SiteAxis(Axis):
    """The site, by its depth in blocks; tables name it."""

    def label(self, axes: Mapping[str, Any]) -> str:
        """The name of the site."""
        return site_name(axes[self.name])


SITE = SiteAxis("depth", "site", "site", "site", searched=True)
STEP = Axis("step", "training step", "step", "step", STEP_KEYS)


def steps_of(pair: PairConfig) -> int | list[int]:
    """The training step of both models of a pair, or their two steps where these differ.

    Of a model that bridge trains it is the checkpoint, or else its last step; of another, the number at the end of its
    revision, or 0 where there is none.
    """
    source, target = _step(pair.source), _step(pair.target)
    return target if source == target else [source, target]


def _step(model: ModelConfig) -> int:
    zoo = model.zoo
    if zoo is not None:
        kept = getattr(zoo, "checkpoint", None)
        return int(getattr(zoo, "n_steps", 0) if kept is None else kept)
    number = re.search(r"(\d+)$", model.revision or "")
    return int(number[1]) if number else 0
