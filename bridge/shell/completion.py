"""Tab completion: Hydra's, with verbs, names of sweeps, lists of values, and layers as people write them.

A shell calls ``bridge -sc query=bash`` with what was typed in COMP_LINE (Hydra's `tab completion`,
https://hydra.cc/docs/tutorials/basic/running_your_app/tab_completion); ``bridge -sc install=bash`` sets that up.
"""

import io
import os
import shlex
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from bridge.config import quote_layer
from bridge.errors import BridgeError
from bridge.sweep.command import own_folder

# Groups that stand in no command line.
HIDDEN = ("schema/",)


def is_query(arguments: Sequence[str]) -> bool:
    """Whether a shell asks what could follow."""
    return bool({"-sc", "--shell-completion"} & set(arguments)) and any(a.startswith("query=") for a in arguments)


def complete(arguments: Sequence[str], run: Callable[[Sequence[str]], int], verbs: Sequence[str]) -> int:
    """Print the completions of the word that is being typed.

    Args:
        arguments: of the query, such as ``-sc query=bash``.
        run: the Hydra application.
        verbs: what may stand first.

    Returns:
        0. If an earlier word is invalid, nothing is printed: an error would appear in the middle of the command line.
    """
    line = os.environ.get("COMP_LINE", "")
    _, *words = line.split() or [""]
    last = "" if not line or line[-1].isspace() or not words else words.pop()
    one_a_line = "query=fish" in arguments
    print(("\n" if one_a_line else " ").join(_answers(words, last, arguments, run, verbs)))
    return 0


def _answers(
    words: list[str], last: str, arguments: Sequence[str], run: Callable[[Sequence[str]], int], verbs: Sequence[str]
) -> list[str]:
    first = [verb for verb in verbs if verb.startswith(last)] if not words else []
    if words and words[0] in verbs:
        if words[0] != "sweep":
            return []
        if len(words) == 1:
            folders = (Path("sweeps"), own_folder())
            return sorted({p.stem for folder in folders for p in folder.glob("*.yaml") if p.stem.startswith(last)})
        words = words[2:]
    try:
        before = shlex.split(" ".join(words))
    except ValueError:
        before = words
    # Hydra splits the line at spaces. -m is added, because several values are an error without it.
    before = ["-m", *(quote_layer(w) for w in before if "=" in w and " " not in w)]
    # Of a list, the value that is being typed: injection=lm_head,la
    key, equals, value = last.partition("=")
    done, comma, typed = value.rpartition(",")
    bare = typed.lstrip("'")
    quote = "'" * (len(typed) > len(bare))
    asked = f"{key}={bare}" if equals else last
    answers = [a for a in _hydra([*before, asked], arguments, run) if not a.startswith(HIDDEN)]
    if comma or quote:
        taken = done.replace("'", "").split(",")
        values = [a.removeprefix(f"{key}=") for a in answers]
        answers = [f"{key}={done}{comma}{quote}{v}{quote}" for v in values if v not in taken]
    # The shell removes quotes from completions.
    return [*first, *(a.replace("'", r"\'") for a in answers)]


def _hydra(words: Sequence[str], arguments: Sequence[str], run: Callable[[Sequence[str]], int]) -> list[str]:
    """What Hydra answers for a line of these words, of which the last is being typed."""
    before = os.environ.get("COMP_LINE")
    os.environ["COMP_LINE"] = " ".join(["bridge", *words])
    try:
        with redirect_stdout(io.StringIO()) as printed:
            run(arguments)
    except (BridgeError, HydraException, OmegaConfBaseException, ValueError):
        return []
    finally:
        if before is None:
            del os.environ["COMP_LINE"]
        else:
            os.environ["COMP_LINE"] = before
    return printed.getvalue().split()
