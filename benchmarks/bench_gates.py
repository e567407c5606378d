"""False alarms: how often the validity gates refuse cells in which nothing is wrong: python -m benchmarks gates"""

import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from bridge.config import compose_config
from bridge.run import run
from bridge.session import Session

OUTPUTS = Path("outputs")
RESULT = OUTPUTS / "gates.json"
N_CELLS, N_SMALL = 200, 10
# Items of a small file; 40 % of them are held out.
SMALL_SIZES = (20, 30, 40, 60)
BY = ("answer", "subject")
# This pair is known to be weak with this injection; the gate `alive` refuses it, which is no error of the gate.
WEAK = "soft_prefix"
CHEAP = ("control.names=[fitted]", "control.n_draws=1", "task.n_resamples=20", "recompute=true")
LAYERS, INJECTIONS, SIZES = (1, 2, 3, 4), ("lm_head", "late_layer", "soft_prefix"), (25, 50, 100, 200, 300, 400, 500)


def settings(n: int, seed: int = 0) -> Iterator[list[str]]:
    """Overrides of `n` cells of pair=tiny, drawn at random."""
    rng = random.Random(seed)
    for _ in range(n):
        wordings, by = rng.choice([("held_out", "item"), *((w, by) for w in ("held_out", "all") for by in BY)])
        words = [f"dataset.wordings={wordings}", f"dataset.split.by={by}", f"dataset.size={rng.choice(SIZES)}"]
        words += [f"layer={rng.choice(LAYERS)}", f"injection={rng.choice(INJECTIONS)}", f"seed={rng.randrange(5)}"]
        if wordings == "all":
            words.append("dataset.split.eval_size=200")
        yield words


def sound(session: Session, n: int) -> tuple[Counter[str], Counter[str], list[float]]:
    """Cells refused by each gate, those of the weak injection counted apart, and the p of every pairing gate."""
    refused: Counter[str] = Counter()
    weak: Counter[str] = Counter()
    p = []
    for words in tqdm(list(settings(n)), desc="cells", disable=None):
        gates = run(compose_config(*words, *CHEAP, f"paths.outputs={session.outputs}"), session).data["gates"]
        count = weak if f"injection={WEAK}" in words else refused
        count["cells"] += 1
        failed = [name for name, gate in gates.items() if not gate["passed"]]
        count.update(failed)
        for name in failed:
            print(f"{name} {gates[name]['value']:.3g}: {' '.join(words)}")
        p.append(gates["pairing"]["value"])
    return refused, weak, p


def small(session: Session, size: int, is_named: bool, n: int) -> list[dict[str, Any]]:
    """The pairing gate of cells of `size` items from a JSON file, with their relations or without."""
    items = session.items(compose_config().dataset)
    gates = []
    for seed in range(n):
        chosen = random.Random(seed).sample(items, size)
        rows = [{"prompt": i.prompt, "answer": i.answer, "relation": i.relation if is_named else ""} for i in chosen]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "items.json"
            path.write_text(json.dumps(rows))
            words = ["dataset=json", f"dataset.path={path}", "layer=3", "injection=late_layer"]
            config = compose_config(*words, *CHEAP, f"paths.outputs={session.outputs}")
            gates.append(run(config, session).data["gates"]["pairing"])
    return gates


def bench() -> dict[str, dict[str, float | str]]:
    """Print both tables, and write outputs/gates.json."""
    torch.set_num_threads(1)
    session = Session(OUTPUTS, "cpu", 64)
    session.locate(compose_config().pair)
    refused, weak, p = sound(session, N_CELLS)
    table = Table(title="sound cells that a gate refuses", box=None)
    for heading in ("gate", "cells", f"of {refused['cells']}", WEAK, f"of {weak['cells']}"):
        table.add_column(heading, justify="left" if heading == "gate" else "right")
    for name in ("states", "drift", "pairing", "known", "alive", "planted"):
        row = (refused[name], refused["cells"], weak[name], weak["cells"])
        table.add_row(name, str(row[0]), f"{row[0] / row[1]:.1%}", str(row[2]), f"{row[2] / max(1, row[3]):.1%}")
    few = Table(title="pairing in small files", box=None)
    for heading in ("items", "relations", "passed", "largest p", "p against either null, on average"):
        few.add_column(heading, justify="left" if heading.startswith("p ") else "right")
    by_size: dict[str, Any] = {}
    for size in SMALL_SIZES:
        for is_named in (True, False):
            gates = small(session, size, is_named, N_SMALL)
            passed = sum(gate["passed"] for gate in gates)
            nulls = sorted({name for gate in gates for name in gate["p"]})
            means = {
                null: sum(values) / len(values)
                for null in nulls
                if (values := [gate["p"][null] for gate in gates if null in gate["p"]])
            }
            by_size[f"{size} {'with' if is_named else 'without'} relations"] = {
                "passed": passed,
                "n": len(gates),
                **means,
            }
            means_text = ", ".join(f"{null} {mean:.3f}" for null, mean in means.items())
            worst = max(gate["value"] for gate in gates)
            few.add_row(str(size), "yes" if is_named else "no", f"{passed} of {len(gates)}", f"{worst:.3f}", means_text)
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    console.print(few)
    answer = {"sound": dict(refused), WEAK: dict(weak), "largest_pairing_p": max(p), "small": by_size}
    RESULT.write_text(json.dumps(answer, indent=1) + "\n")
    print(f"written to {RESULT}")
    return {}


if __name__ == "__main__":
    bench()
