"""A cell of task=similarity: the states of all layers of both models on the fit rows, compared."""

import torch

from bridge.building import make
from bridge.config import resolve_layer
from bridge.data.splitting import split
from bridge.errors import ConfigError
from bridge.results.points import Result
from bridge.schema import BridgeConfig, ModelConfig
from bridge.schema.similarity import SimilarityConfig
from bridge.session import Session
from bridge.tasks.similarity.layers import LayerSimilarity


def compute(config: BridgeConfig, session: Session, inputs: dict[str, str]) -> Result:
    """The result of a cell of task=similarity; it has no scores by item.

    The rows are those that task=translate would fit on with the same dataset and seed: `dataset.size` of the items
    that are not held out, at the last position or, with layer.position=mean, their mean over positions.

    Args:
        config: of the cell.
        session: the caches that cells share.
        inputs: fingerprints of the weights and items.

    Raises:
        BridgeError: something that a user can put right.
    """
    chosen = config.task
    assert isinstance(chosen, SimilarityConfig)
    task = make(LayerSimilarity, chosen)
    task.check()
    position = config.layer.position
    if position not in ("last", "mean"):
        raise ConfigError(
            f"layer.position={position} gives no single row per item to compare; wanted last or mean: change it"
        )
    pair = config.pair
    n_blocks = {
        side: session.model(m).anatomy.n_blocks for side, m in (("source", pair.source), ("target", pair.target))
    }
    layers = {
        "source": _layers(chosen, "source", n_blocks["source"], pair.source.name),
        "target": _layers(chosen, "target", n_blocks["target"], pair.target.name),
    }
    prompts = session.prompts(config)
    by = config.dataset.split
    parts = split(prompts.items, by.by.value, config.dataset.size, by.eval_fraction, by.eval_size, config.seed)
    names = {name: k for k, name in enumerate(sorted({item.relation for item in prompts.items}))}
    relations = torch.tensor([names[prompts.items[i].relation] for i in parts.fit.tolist()])
    task.check(len(parts.fit))

    def states(model: ModelConfig, side: str) -> dict[int, torch.Tensor]:
        device = session.model(model).device
        texts = prompts.contexts_source if side == "source" else prompts.contexts_target
        return {n: session.states(model, texts, n, position)[parts.fit].to(device) for n in layers[side]}

    strict = chosen.layers != "all" or any(x is not None for x in (chosen.source_layers, chosen.target_layers))
    result = task.run(states(pair.source, "source"), states(pair.target, "target"), relations, config.seed, strict)
    result.facts["layers"] |= {"n_source": n_blocks["source"], "n_target": n_blocks["target"]}
    result.facts |= {
        "models": {"source": session.path(pair.source), "target": session.path(pair.target)},
        "n_rows": len(parts.fit),
        "n_left": len(parts.pool),
        "n_permutations": chosen.n_permutations,
        "coverage": prompts.coverage,
    }
    return result


def _layers(chosen: SimilarityConfig, side: str, n_blocks: int, model: str) -> list[int]:
    """The layers to compare, in order and each once."""
    own = getattr(chosen, f"{side}_layers")
    wanted = chosen.layers if own is None else own
    key = "task.layers" if own is None else f"task.{side}_layers"
    if wanted == "all":
        return list(range(n_blocks + 1))
    if isinstance(wanted, str | int | float) and not isinstance(wanted, bool):
        wanted = [wanted]
    if not isinstance(wanted, list) or not wanted:
        raise ConfigError(
            f"{key}={wanted} is no choice of layers; wanted all or a list such as [0,2,0.5,final]: change it"
        )
    return sorted({resolve_layer(layer, n_blocks, model) for layer in wanted})
