"""Every error message has the three parts that CONTRIBUTING names: what was got; what was wanted: what to do."""

import ast
import re
from pathlib import Path

import pytest

import bridge.errors
from bridge.errors import BridgeError, ConfigError, layer_out_of_range

ROOT = Path(__file__).parents[1] / "bridge"
ERRORS = {
    name for name, kind in vars(bridge.errors).items() if isinstance(kind, type) and issubclass(kind, BridgeError)
}
GRAMMAR = re.compile(r"[^;]+; wanted [^:]+: .*[^.]", re.DOTALL)
LEAST_MESSAGES = 255


def text_of(node: ast.expr) -> str:
    """The words of a message, with X in place of its values."""
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
    return node.value if isinstance(node, ast.Constant) else "X"


def messages(path: Path) -> list[tuple[int, str]]:
    calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    return [
        (call.lineno, text_of(call.args[0]))
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id in ERRORS and call.args
    ]


FILES = sorted(ROOT.rglob("*.py"))
MESSAGES = [(path.relative_to(ROOT), line, text) for path in FILES for line, text in messages(path)]


@pytest.mark.parametrize(("path", "line", "text"), MESSAGES, ids=lambda value: str(value)[:40])
def test_a_message_says_what_was_got_what_was_wanted_and_what_to_do(path: Path, line: int, text: str) -> None:
    assert GRAMMAR.fullmatch(text), f"bridge/{path}:{line}: {text!r}"
    assert "\n" not in text


def test_the_messages_of_every_room_are_read() -> None:
    assert len(MESSAGES) >= LEAST_MESSAGES
    rooms = {path.parts[0].removesuffix(".py") for path, _, _ in MESSAGES}
    assert {
        "config",
        "data",
        "injection",
        "maps",
        "models",
        "records",
        "similarity",
        "sweep",
        "tasks",
        "tracking",
    } <= rooms


@pytest.mark.parametrize(
    "text", ["no states", "no states; wanted some", "no states; give some", "no states; wanted some: give more."]
)
def test_a_message_that_lacks_a_part_is_noticed(text: str) -> None:
    assert not GRAMMAR.fullmatch(text)


def test_a_layer_that_a_model_lacks_is_named_with_those_it_has() -> None:
    error = layer_out_of_range(9, "m", 4)
    assert isinstance(error, ConfigError)
    assert str(error) == "layer 9 is out of range for m; wanted 0..4, as it has 4 blocks: change it"
