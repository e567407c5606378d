"""The registry of controls, by name: one class in each file of this folder."""

import importlib
import inspect
import pkgutil
from pathlib import Path

from bridge.controls.base import Control
from bridge.results.conditions import Conditions


def _controls() -> list[Control]:
    """One of each class of the files beside this one."""
    names = {module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])} - {"base", "names"}
    modules = [importlib.import_module(f"bridge.controls.{name}") for name in sorted(names)]
    classes = [kind for module in modules for _, kind in inspect.getmembers(module, inspect.isclass)
               if issubclass(kind, Control) and kind.__module__ == module.__name__]  # fmt: skip
    return [kind() for kind in classes]


CONTROLS: Conditions[Control] = Conditions(_controls())
