"""The config groups with their options, as ``bridge --help`` shows them."""

import textwrap
from collections.abc import Iterable

from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from bridge.schema import LAYER_NUMBERS

WIDTH = 100


def register_groups() -> None:
    """Make ``${config_groups:}`` known to OmegaConf, for the help text in conf/config.yaml."""
    OmegaConf.register_new_resolver("config_groups", config_groups, replace=True)


def config_groups() -> str:
    """A line or two for each config group that a user chooses from, also those of a ``--config-dir``."""
    loader = GlobalHydra.instance().config_loader()
    groups = [name for name in loader.list_groups("") if name not in ("hydra", "schema")]
    options = {name: loader.get_group_options(name) for name in [*sorted(groups), "hydra/launcher"]}
    lines = [f"{name}: {', '.join(_shown(name, some))}" for name, some in options.items() if some]
    return "\n".join(line for text in lines for line in textwrap.wrap(text, WIDTH, subsequent_indent="  "))


def _shown(group: str, options: Iterable[str]) -> list[str]:
    """The options of a group; layers, of which every number is one, in words."""
    if group != "layer":
        return sorted(options)
    named = sorted(name for name in options if not name.lstrip("-").replace(".", "", 1).isdigit())
    return [f"0..{max(LAYER_NUMBERS)}", "-1", "a fraction such as 0.5", *named]
