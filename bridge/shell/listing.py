"""``bridge tasks``, ``bridge maps``, ``bridge controls``: lists, one line each, without loading torch."""

import argparse
import ast
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

BRIDGE = Path(__file__).resolve().parents[1]


def tasks() -> dict[str, str]:
    """Name -> what it asks."""
    from bridge.tasks import registry

    return {name: registry.get(name).question for name in registry.names()}


def maps() -> dict[str, str]:
    """Name -> what is fitted: the comment at the top of conf/map/NAME.yaml, or else the first line of its class."""
    from bridge.config import conf_dir
    from bridge.schema import SCHEMAS

    targets = {name: node._target_ for group, name, node in SCHEMAS if group == "map" and hasattr(node, "_target_")}
    lines = {}
    for file in sorted((conf_dir() / "map").glob("*.yaml")):
        text = file.read_text()
        if text.startswith("# "):
            lines[file.stem] = text.splitlines()[0].removeprefix("# ")
        else:
            stands_on = next(d for d in yaml.safe_load(text)["defaults"] if d.startswith("/schema/map/"))
            lines[file.stem] = _of_class(targets[stands_on.removeprefix("/schema/map/").removesuffix("@_here_")])
    return lines


def controls() -> dict[str, str]:
    """Name -> its kind and what it rules out, or is."""
    from bridge.controls.names import CONTROLS

    lines = {}
    for name, control in CONTROLS.items():
        text = control.rules_out.partition(". ")[0]
        lines[name] = f"{control.kind:9s}  {'rules out ' if text.startswith('that ') else ''}{text}"
    return lines


def _of_class(target: str) -> str:
    """The first line of a class's docstring, read from its file, because importing it would load torch."""
    module, _, name = target.rpartition(".")
    tree = ast.parse(BRIDGE.joinpath(*module.split(".")[1:]).with_suffix(".py").read_text())
    return _first_line(next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name))


def _first_line(node: ast.ClassDef) -> str:
    return (ast.get_docstring(node) or "").partition("\n")[0]


def _verb(name: str, of: Callable[[], dict[str, str]], how: str) -> Callable[[Sequence[str]], int]:
    """A verb that prints a list.

    Args:
        name: of the verb.
        of: what it lists.
        how: how one of them is chosen.
    """

    def verb(arguments: Sequence[str]) -> int:
        argparse.ArgumentParser(f"bridge {name}", description=f"The {name} that there are. {how}").parse_args(arguments)
        lines = of()
        width = max(map(len, lines))
        for key, line in lines.items():
            print(f"{key:{width}s}  {line}")
        print(f"\n{how}")
        return 0

    return verb


LISTS = {
    "tasks": _verb("tasks", tasks, "Choose one with task=NAME, or sweep task=A,B."),
    "maps": _verb("maps", maps, "Choose one with map=NAME; bridge --cfg job map=NAME -p map prints its options."),
    "controls": _verb("controls", controls, "All are scored unless you choose: control=NAME, control.names=[A,B]."),
}
