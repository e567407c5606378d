"""The states of both models at every token of the same strings, at every site, in two parts: to fit on and to score."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bridge.activations.extract import extract
from bridge.activations.inside import depths_of, every_site
from bridge.data.items import Item
from bridge.data.splitting import labels, numbered, split
from bridge.errors import ConfigError, DataError
from bridge.schema import BridgeConfig, ModelConfig
from bridge.session import Session

# Strings that are read again alone, one at a time.
N_ALONE = 8
Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Side:
    """The tokens of one part of the strings.

    Attributes:
        items: n strings.
        units: (n,) integer unit of inference of each string.
        string: (m,) the string of each token, 0 to n - 1.
        token: (m,) the id of each token, for the target.
        rows: (m,) where each token's state lies.
        texts: the tokens of each string, for the target.
        places: for each string, the positions of its tokens.
    """

    items: list[Item]
    units: Tensor
    string: Tensor
    token: Tensor
    rows: Tensor
    texts: list[Tokens]
    places: list[list[int]]


@dataclass(frozen=True)
class SiteStates:
    """Strings in two parts, and the states of all their tokens.

    Attributes:
        depths: of the sites.
        fit: what rotations are fitted on.
        held: what they are scored on.
        coverage: how many strings were loaded and kept.
    """

    depths: list[float]
    fit: Side
    held: Side
    coverage: dict[str, int]
    _source: dict[float, Tensor]
    _target: dict[float, Tensor]

    def at(self, depth: float, side: Side) -> tuple[Tensor, Tensor]:
        """States X (m, d_source) and Y (m, d_target) of a part at one site, in float64."""
        return self._source[depth][side.rows].double(), self._target[depth][side.rows].double()


def site_states(config: BridgeConfig, session: Session, sites: str | Sequence[str]) -> SiteStates:
    """Read both models at all wanted sites, at every token of the strings but special ones.

    Args:
        config: names the pair, the items and their split.
        session: the caches that cells share.
        sites: "all" or names.

    Raises:
        ConfigError: the models have not the same sites.
        DataError: a string has not the same number of tokens for both models.
    """
    pair = config.pair
    depths = _depths(config, session, sites)
    prompts = session.prompts(config)
    contexts = {"source": prompts.contexts_source, "target": prompts.contexts_target}
    for item, one, other in zip(prompts.items, *contexts.values(), strict=True):
        if len(one) != len(other):
            raise DataError(
                f"{item.prompt[:60]!r} has {len(one)} tokens for {pair.source.name} and {len(other)} for "
                f"{pair.target.name}; wanted as many for both, as states are matched token by token: give models of "
                "one tokenizer"
            )
    tokenizer = session.model(pair.target).tokenizer
    special = set(tokenizer.all_special_ids)
    wanted = [[t for t, token in enumerate(context) if token not in special] for context in contexts["target"]]
    starts = [0]
    for context in contexts["target"]:
        starts.append(starts[-1] + len(context))
    by = config.dataset.split
    parts = split(prompts.items, by.by.value, config.dataset.size, by.eval_fraction, by.eval_size, config.seed)
    units = numbered(labels(prompts.items, config.dataset.unit.value))

    def side(chosen: list[int]) -> Side:
        places = [(n, i, t) for n, i in enumerate(chosen) for t in wanted[i]]
        return Side(
            items=[prompts.items[i] for i in chosen],
            units=units[torch.tensor(chosen)],
            string=torch.tensor([n for n, _, _ in places]),
            token=torch.tensor([contexts["target"][i][t] for _, i, t in places]),
            rows=torch.tensor([starts[i] + t for _, i, t in places]),
            texts=[contexts["target"][i] for i in chosen],
            places=[wanted[i] for i in chosen],
        )

    def states(model: ModelConfig, texts: Sequence[Tokens]) -> dict[float, Tensor]:
        every = session.token_states(model, texts, depths)
        return {depth: torch.cat(some.shards) for depth, some in every.items()}

    return SiteStates(
        depths=depths,
        fit=side(parts.fit.tolist()),
        held=side(parts.eval.tolist()),
        coverage=prompts.coverage,
        _source=states(pair.source, contexts["source"]),
        _target=states(pair.target, contexts["target"]),
    )


def _depths(config: BridgeConfig, session: Session, sites: str | Sequence[str]) -> list[float]:
    pair = config.pair
    source, target = session.model(pair.source), session.model(pair.target)
    if source.anatomy.width != target.anatomy.width:
        raise ConfigError(
            f"{pair.source.name} has width {source.anatomy.width} and {pair.target.name} {target.anatomy.width}; "
            "wanted equal widths, as a rotation is square: choose another pair"
        )
    if source.anatomy.n_blocks != target.anatomy.n_blocks:
        raise ConfigError(
            f"{pair.source.name} has {source.anatomy.n_blocks} blocks and {pair.target.name} "
            f"{target.anatomy.n_blocks}; wanted as many, as each site is compared with itself: choose another pair"
        )
    if sites == "all":
        there = set(every_site(target))
        return [depth for depth in every_site(source) if depth in there]
    depths_of(sites, target, pair.target.name)
    return depths_of(sites, source, pair.source.name)


def alone_error(config: BridgeConfig, session: Session, states: SiteStates) -> float:
    """Largest relative difference between stored states and those of some strings that are read alone.

    It is found at all sites of both models, on up to eight held-out strings.
    """
    prompts = session.prompts(config)
    place = {item.prompt: i for i, item in enumerate(prompts.items)}
    some = [(n, place[item.prompt]) for n, item in enumerate(states.held.items[:N_ALONE])]
    worst = 0.0
    for side, model, contexts in (
        (0, config.pair.source, prompts.contexts_source),
        (1, config.pair.target, prompts.contexts_target),
    ):
        lm = session.model(model)
        for n, i in some:
            alone = extract(lm, [contexts[i]], states.depths, "index", [states.held.places[n]])
            mine = states.held.string == n
            for depth in states.depths:
                stored, own = states.at(depth, states.held)[side][mine], alone[depth].double()
                worst = max(worst, float(((stored - own).norm(dim=1) / own.norm(dim=1).clamp_min(1e-30)).max()))
    return worst
