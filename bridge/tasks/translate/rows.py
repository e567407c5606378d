"""The rows of a cell: states of both models at its layers, with the text and the labels of every row."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bridge.carry.rows import Rows
from bridge.data.pairing import aligned_contexts
from bridge.data.rosetta import RosettaSet
from bridge.data.splitting import Split, labels, numbered
from bridge.errors import ConfigError, DataError
from bridge.schema import BridgeConfig
from bridge.session import Session

POSITIONS = ("last", "mean", "aligned")


@dataclass(frozen=True)
class CellRows:
    """What a cell is computed from.

    Attributes:
        fit: rows to fit on.
        evaluation: rows to carry, one entry per eval item.
        every: (X, Y, relations) of all items, for the pairing gate.
    """

    fit: Rows
    evaluation: Rows
    every: tuple[Tensor, Tensor, Tensor]


def cell_rows(
    config: BridgeConfig, session: Session, rosetta: RosettaSet, parts: Split, layers: dict[str, int], n_states: int
) -> CellRows:
    """States to fit on and states to carry; row i of both models is from the same item, after the same text.

    Args:
        config: of the cell.
        session: with the models and states.
        rosetta: the items.
        parts: the fit items and the eval items.
        layers: "source" and "target".
        n_states: how many states of an eval item the injection takes.

    Raises:
        ConfigError: a position that is unknown, or gives fewer states than the injection takes.
        DataError: states that are the same for all items, or a tokenizer without offsets.
    """
    pair, position = config.pair, config.layer.position
    if position not in POSITIONS:
        raise ConfigError(
            f"layer.position={position} is unknown; wanted {', '.join(POSITIONS[:-1])} or {POSITIONS[-1]}: change it"
        )
    if position == "mean" and n_states > 1:
        raise ConfigError(
            f"layer.position=mean gives one state; wanted {n_states}, as many as the injection takes: give "
            "layer.position=last or injection.k=1"
        )
    sides = (("source", pair.source, rosetta.contexts_source), ("target", pair.target, rosetta.contexts_target))
    at = "mean" if position == "mean" else "last" if n_states == 1 else f"last:{n_states}"
    X, Y = (session.states(model, texts, layers[side], at) for side, model, texts in sides)
    if n_states == 1:
        X, Y = X[:, None], Y[:, None]
    for states, (side, model, _) in zip((X, Y), sides, strict=True):
        _check_distinct(states[:, -1], layers[side], model.name)
    about = _About.of(rosetta, config.dataset.split.by.value)
    evaluation = about.rows(X, Y, parts.eval)
    every = X[:, -1], Y[:, -1], about.relations
    if position != "aligned":
        return CellRows(about.rows(X[:, -1], Y[:, -1], parts.fit), evaluation, every)

    tokenizers = [session.model(model).tokenizer for _, model, _ in sides]
    matched = aligned_contexts(rosetta, *tokenizers)
    positions = [[[pair[k] for pair in row] for row in matched] for k in (0, 1)]
    X, Y = (
        session.states(model, texts, layers[side], "index", places)
        for (side, model, texts), places in zip(sides, positions, strict=True)
    )
    item = torch.tensor([i for i, row in enumerate(matched) for _ in row])
    kept = torch.isin(item, parts.fit)
    read = [
        [texts[i][: place + 1] for i, row in enumerate(places) for place in row]
        for (_, _, texts), places in zip(sides, positions, strict=True)
    ]
    at_rows = kept.nonzero().flatten().tolist()
    fit = about.rows(X[kept], Y[kept], item[kept], [[texts[i] for i in at_rows] for texts in read])
    # The last pair of an item are both last positions.
    ends = torch.cat([item[1:] != item[:-1], torch.ones(1, dtype=torch.bool)])
    return CellRows(replace(fit, ends=ends[kept]), evaluation, every)


@dataclass(frozen=True)
class _About:
    """Labels of every item of a Rosetta set."""

    rosetta: RosettaSet
    relations: Tensor
    answers: Tensor
    groups: Tensor

    @classmethod
    def of(cls, rosetta: RosettaSet, by: str) -> "_About":
        items = rosetta.items
        named = [item.relation.strip() for item in items]
        relations = torch.where(torch.tensor([bool(name) for name in named]), numbered(named), -1)
        groups = numbered(labels(items, by))  # type: ignore[arg-type]
        return cls(rosetta, relations, numbered([item.answer.strip() for item in items]), groups)

    def rows(
        self, X: Tensor, Y: Tensor, items: Tensor, texts: Sequence[Sequence[tuple[int, ...]]] | None = None
    ) -> Rows:
        """Rows of some items. With `texts`, X and Y hold these rows only; without, they hold one row for every item."""
        if texts is None:
            X, Y = X[items], Y[items]
            texts = [[side[i] for i in items.tolist()] for side in (self.rosetta.contexts_source,
                                                                     self.rosetta.contexts_target)]  # fmt: skip
        source, target = (tuple(side) for side in texts)
        return Rows(X, Y, self.relations[items], self.answers[items], self.groups[items], source, target)


def _check_distinct(states: Tensor, layer: int, model: str) -> None:
    """Refuse states that are the same for all items.

    Raises:
        DataError: all are zero, or all the same.
    """
    if bool((states == states[0]).all()):
        what = "zero" if not bool(states[0].any()) else "one and the same state"
        raise DataError(
            f"layer {layer} of {model} is {what} for all {len(states)} items; wanted states that differ, and there a "
            "prompt's last token alone decides them: choose a layer above, or prompts that end differently"
        )
