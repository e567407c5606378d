"""Reading JSON files that people wrote, with errors that name the file and the place."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bridge.errors import DataError


def read_text(path: Path, wanted: str = "items") -> str:
    """The content of a UTF-8 file, which must have something in it."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(
            f"the file {path} cannot be read ({error.strerror or error}); wanted a data file: check the path (a "
            "relative one starts at the current folder)"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"the file {path} is not UTF-8 text ({error.reason}); wanted UTF-8: save it as that") from error
    if not text.strip():
        raise DataError(f"the file {path} is empty; wanted {wanted}: check how it was written")
    return text


def _parse(text: str, path: Path, first_line: int = 1) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise DataError(f"line {line} of {path} is not JSON ({error.msg}); wanted JSON: correct that line") from error


def read_json(path: Path) -> Any:
    """The content of a JSON file."""
    return _parse(read_text(path), path)


def read_json_list(path: Path) -> list[Any]:
    """The content of a JSON file that must be a list with something in it."""
    raw = read_json(path)
    if not isinstance(raw, list):
        raise DataError(f"{path} {got(raw)}; wanted a list of objects: put them into one list")
    if not raw:
        raise DataError(f"the list in {path} is empty; wanted items: check how it was written")
    return raw


def read_json_lines(path: Path) -> list[Any]:
    """The content of each line of a JSON-lines file; blank lines are left out."""
    # not splitlines(): a JSON string may hold U+2028 and its like as they are
    lines = enumerate(read_text(path).split("\n"), start=1)
    return [_parse(line, path, number) for number, line in lines if line.strip()]


def text_of(node: Any, key: str, where: str) -> str:
    """The text under a key of a JSON object."""
    if not isinstance(node, Mapping) or key not in node:
        raise DataError(f"{where} {got(node)}; wanted '{key}': add it")
    value = node[key]
    if not isinstance(value, str):
        raise DataError(f"{where} has {type(value).__name__} as '{key}'; wanted text: put it in quotes")
    return value


def got(node: Any) -> str:
    """What a JSON value is, for an error: the keys of an object or else its type."""
    if isinstance(node, Mapping):
        return f"has the keys {', '.join(map(str, node))}" if node else "has no keys"
    return f"is {type(node).__name__}"


def check_template(template: str, needed: str) -> None:
    """Refuse a prompt template that lacks a placeholder."""
    if needed not in template:
        raise DataError(f"got the prompt template '{template}'; wanted {needed} in it: add {needed}")


def fill(template: str, values: Mapping[str, str]) -> str:
    """A template with each ``{name}`` replaced by its value; other braces stay."""
    # one pass, so that braces inside a value stay as they are
    return re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], match[0]), template)
