"""Composes configs as Hydra does, at two fifths of the time.

For each composition Hydra reads thirty files and schemas anew, and two thirds of them are for its own node, which no
cell has. Here each is read once by each `Composer`, and Hydra's own node is left out.
"""

import copy
from collections.abc import Iterable, Sequence

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.defaults_list import create_defaults_list
from hydra.core.config_loader import ConfigLoader
from hydra.core.default_element import GroupDefault
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException


class Files(CachingConfigRepository):
    """What has been read of a search path, without what files say of Hydra's own node."""

    def load_config(self, config_path: str) -> ConfigResult | None:
        """Read a file or a schema, the first time that it is asked for."""
        read = f"config_path={config_path}" in self.cache
        result: ConfigResult | None = super().load_config(config_path)
        if result is not None and not read:
            defaults = result.defaults_list or []
            result.defaults_list = [d for d in defaults if not (isinstance(d, GroupDefault) and _of_hydra(d.group))]
            if isinstance(result.config, DictConfig) and "hydra" in result.config:
                result.config.pop("hydra", None)
        return result

    def copies(self, paths: Iterable[str]) -> "Files":
        """Some of the files alone, of which a merge may change the content."""
        some = copy.copy(self)
        some.cache = {}
        for path in paths:
            key = f"config_path={path}"
            result = some.cache[key] = copy.copy(self.cache[key])
            assert result is not None
            result.config = copy.deepcopy(result.config)
        return some


def _of_hydra(group: str | None) -> bool:
    return (group or "").lstrip("/").startswith("hydra/")


class Composer:
    """Composes configs from one search path.

    Args:
        loader: Hydra's.
        name: of the primary config.
        hydra: overrides of Hydra's own node, of which the search path counts.

    Example:
        >>> compose = Composer(context.config_loader, "config")  # doctest: +SKIP
        >>> compose(["layer=2", "map=ridge"]).layer.source  # doctest: +SKIP
        2
    """

    def __init__(self, loader: ConfigLoader, name: str, hydra: Sequence[str] = ()) -> None:
        assert isinstance(loader, ConfigLoaderImpl)
        self._loader, self._name = loader, name
        # The search path may also be named in the primary config, in Hydra's own node.
        _, searched = loader._parse_overrides_and_create_caching_repo(name, list(hydra))
        self._files = Files(searched.delegate)

    def __call__(self, overrides: Sequence[str]) -> DictConfig:
        """The config that Hydra composes, unresolved and without Hydra's own node.

        Raises:
            HydraException: a key, an option or a value that does not exist.
        """
        try:
            return self._compose(overrides)
        except OmegaConfBaseException as error:
            raise ConfigCompositionException().with_traceback(error.__traceback__) from error

    def _compose(self, overrides: Sequence[str]) -> DictConfig:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        own = [override for override in parsed if not override.is_hydra_override()]
        defaults = create_defaults_list(self._files, self._name, own, prepend_hydra=False, skip_missing=False)
        # A merge changes both sides, so that only copies of what was read are merged.
        paths = (default.config_path for default in defaults.defaults if default.config_path)
        config = self._loader._compose_config_from_defaults_list(defaults.defaults, self._files.copies(paths))
        OmegaConf.set_struct(config, True)
        self._loader._apply_overrides_to_config(defaults.config_overrides, config)
        return config
