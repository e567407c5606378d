"""The registry of maps: a map is the class that has the name of its file, as Orthogonal in orthogonal.py.

The arguments of a map are parsed from its source file, so that a configuration is checked without loading torch.
"""

import ast
import re
import sys
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.maps.base import Map

PACKAGE = "bridge.maps"


@dataclass(frozen=True)
class Described:
    """The description of a map, parsed from its file.

    Attributes:
        name: of the file and of its option, such as "ridge".
        class_name: such as "Ridge".
        says: the first line of its docstring.
        arguments: of its constructor: name -> (annotation, default or None where there is none).
    """

    name: str
    class_name: str
    says: str
    arguments: dict[str, tuple[ast.expr | None, ast.expr | None]]

    @property
    def target(self) -> str:
        """Module and class."""
        return f"{PACKAGE}.{self.name}.{self.class_name}"


@cache
def maps() -> dict[str, Described]:
    """Every map by the name of its file, in the order of the names."""
    described = {}
    for path in sorted(_folder().glob("*.py")):
        match = re.search(rf"^class ({path.stem.replace('_', '')})\b", path.read_text(), re.MULTILINE | re.IGNORECASE)
        family = _family(path.stem, match[1]) if match else {}
        if match and ("base", "Map") in family and not _unfinished(family):
            node = family[path.stem, match[1]]
            says = (ast.get_docstring(node) or "").partition("\n")[0]
            described[path.stem] = Described(path.stem, node.name, says, _arguments(family))
    return described


def map_class(name: str) -> "type[Map]":
    """The class of a map by the name of its file or of the class.

    Raises:
        KeyError: there is no such map.
    """
    for map_ in maps().values():
        if name in (map_.name, map_.class_name):
            kind: type[Map] = getattr(import_module(f"{PACKAGE}.{map_.name}"), map_.class_name)
            return kind
    raise KeyError(name)


def names_of(ability: str) -> str:
    """The names of the maps that have an ability, for an error message."""
    names = sorted(m.class_name for m in maps().values() if getattr(map_class(m.name), ability, False))
    return ", ".join(names[:-1]) + " and " + names[-1]


def _folder() -> Path:
    return Path(sys.modules[PACKAGE].__path__[0])


@cache
def _parsed(module: str) -> ast.Module:
    return ast.parse((_folder() / f"{module}.py").read_text())


def _family(module: str, name: str) -> dict[tuple[str, str], ast.ClassDef]:
    """A class and all that it inherits from in this package: (module, class) -> its definition, nearest first."""
    body = _parsed(module).body
    node = next((n for n in body if isinstance(n, ast.ClassDef) and n.name == name), None)
    if node is None:
        return {}
    imported = {
        alias.asname or alias.name: (n.module.rpartition(".")[2], alias.name)
        for n in body
        if isinstance(n, ast.ImportFrom) and n.module and n.module.startswith(f"{PACKAGE}.")
        for alias in n.names
    }
    family = {(module, name): node}
    for base in node.bases:
        if isinstance(base, ast.Name):
            family |= _family(*imported.get(base.id, (module, base.id)))
    return family


def _unfinished(family: dict[tuple[str, str], ast.ClassDef]) -> bool:
    """Whether an abstract method of a class has no body anywhere."""
    methods = [n for node in family.values() for n in node.body if isinstance(n, ast.FunctionDef)]
    abstract = {m.name for m in methods if any(getattr(d, "id", "") == "abstractmethod" for d in m.decorator_list)}
    named = [m.name for m in methods]
    return any(named.count(name) == 1 for name in abstract)


def _arguments(family: dict[tuple[str, str], ast.ClassDef]) -> dict[str, tuple[ast.expr | None, ast.expr | None]]:
    for node in family.values():
        for method in node.body:
            if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                taken = method.args.args[1:]
                defaults = [None] * (len(taken) - len(method.args.defaults)) + method.args.defaults
                return {a.arg: (a.annotation, d) for a, d in zip(taken, defaults, strict=True)}
    return {}
