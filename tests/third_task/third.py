"""A task without layer, injection or language model: heads of a biased coin beside those of fair ones."""

from dataclasses import dataclass

import torch

from bridge.results.axes import Axis
from bridge.results.conditions import Condition, Conditions
from bridge.results.metrics import Metric
from bridge.results.points import PointScores, result_of
from bridge.results.scores import Branch, Part
from bridge.schema.method import TaskConfig
from bridge.tasks.base import Task


@dataclass
class CoinsConfig(TaskConfig):
    """Each bias is a point of one record, each number of tosses a cell of its own."""

    name: str = "coins"
    n_tosses: int = 60
    n_resamples: int = 200


class Coins(Task):
    """Heads of a biased coin beside those of fair ones."""

    name = "coins"
    question = "Is a biased coin told from fair ones?"
    config = CoinsConfig
    metrics = (Metric("heads", "heads (share of tosses)", low=0.0, high=1.0, heads=True, binary=True, panel=True),)
    conditions = Conditions(
        [
            Condition("biased", "estimate", "the biased coin"),
            Condition("fair", "negative", "that any coin would do: fair coins, many draws", drawn=True),
        ]
    )
    axes = (Axis("bias", "bias of the coin", searched=True), Axis("tosses", "tosses", keys=("task.n_tosses",)))

    def compute(self, config, session, inputs):
        """Toss."""
        n = config.task.n_tosses
        points, about = [], []
        for bias in (0.5, 0.7, 0.95):

            def tossed(name, bias=bias):
                generator = torch.Generator().manual_seed(config.seed + n + len(name))
                shape = (1, n) if name == "biased" else (20, n)
                rate = bias if name == "biased" else 0.5
                return Branch({"heads": (torch.rand(shape, generator=generator) < rate).double()})

            parts = {"all": Part.whole(torch.arange(n), config.task.n_resamples, config.seed)}
            points.append(PointScores(self, {"bias": bias, "tosses": n}, parts, "toss", tossed))
            about.append({"items": {"toss": [f"toss {i}" for i in range(n)]}})
        return result_of(points, list(self.conditions), about)


TASK = Coins()
