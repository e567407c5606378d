"""``${all_layers:}`` in a sweep file: every layer of the pair's source."""

from typing import Any

from omegaconf import OmegaConf

from bridge.models.shapes import shape


def register_resolvers() -> None:
    """Make ``${all_layers:}`` known to OmegaConf."""
    if not OmegaConf.has_resolver("all_layers"):
        OmegaConf.register_new_resolver("all_layers", all_layers)


def all_layers(*, _root_: Any) -> str:
    """The layers 0..N of the model that states come from, as a list that Hydra sweeps over.

    Args:
        _root_: the config; its pair and direction say which model.

    Raises:
        ModelError: the model's config cannot be read; give ``layer=0,1,2,...`` then.
    """
    side = "target" if _root_.direction.name == "reverse" else "source"
    n_blocks, _ = model_shape(_root_.pair[side])
    # Options of a group are strings to Hydra.
    return ",".join(f"'{layer}'" for layer in range(n_blocks + 1))


def model_shape(model: Any) -> tuple[int, int]:
    """Blocks and width of a model of the config, also of one that bridge has not trained yet."""
    if model.zoo is not None:
        return int(model.zoo.n_blocks), int(model.zoo.width)
    return shape(model.name, model.revision, model.trust_remote_code)
