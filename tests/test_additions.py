"""What CONTRIBUTING says of a control, an injection and a kind of model: these files are touched, and no other.

A map is added in tests/maps/test_map_registry.py, a tracker in tests/tracking/test_third_tracker.py, and a task in
tests/test_third_task.py.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import BertConfig, BertForMaskedLM

from bridge.models import kinds
from bridge.models.kinds import Kind

ROOT = Path(__file__).parents[1]
CONTROL = '''
"""A negative control: the source's states, each with its sign changed before the map."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.controls.base import Carried, Control

if TYPE_CHECKING:
    from torch import Tensor

    from bridge.carry.carrier import Carrier


@dataclass(frozen=True)
class Negated(Control):
    """Minus the states."""

    name: str = "negated"
    rules_out: str = "that the direction of a state does not matter: each state with its sign changed"

    def states(self, carrier: "Carrier", rows: Carried) -> "Tensor":
        """Mapped with the wrong sign."""
        return carrier.through(carrier.map_, -rows.X)[None]
'''
INJECTION = '''
"""The head, with colder logits."""

from torch import Tensor

from bridge.injection.lm_head import LmHead


class Colder(LmHead):
    """Logits times a factor."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def logits(self, states: Tensor, rows: Tensor) -> Tensor:
        """See `Injection.logits`."""
        return self.factor * super().logits(states, rows)
'''
SCHEMA = '''

@dataclass
class ColderConfig(InjectionConfig):
    """Decoded by the head, with colder logits."""

    _target_: str = "bridge.injection.colder.Colder"
    name: str = "colder"
    factor: float = 3.0
'''
OPTION = "defaults:\n  - /schema/{0}@_here_\n"


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with one control and one injection more."""
    folder = tmp_path_factory.mktemp("copied")
    for name in ("bridge", "conf", "sweeps", "hydra_plugins"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "bridge/controls/negated.py").write_text(CONTROL)
    (folder / "conf/control/negated.yaml").write_text(OPTION.format("control/control") + "names: [negated]\n")
    (folder / "bridge/injection/colder.py").write_text(INJECTION)
    (folder / "conf/injection/colder.yaml").write_text(OPTION.format("injection/colder"))
    with (folder / "bridge/schema/method.py").open("a") as file:
        file.write(SCHEMA)
    schema = folder / "bridge/schema/__init__.py"
    text = schema.read_text()
    before = '    ("injection", "lm_head", LmHeadConfig),\n'
    assert before in text
    text = text.replace(before, f'{before}    ("injection", "colder", ColderConfig),\n')
    schema.write_text(
        text.replace("from bridge.schema.method import (\n", "from bridge.schema.method import (\n    ColderConfig,\n")
    )
    return folder


def bridge(copied: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(copied)}
    done = subprocess.run([sys.executable, "-P", "-m", "bridge", *words], env=environment, text=True,
                          capture_output=True, cwd=copied, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_control_and_an_injection_are_scored_and_shown(copied: Path, bare_outputs: Path) -> None:
    from untrained import UNTRAINED

    shown = bridge(copied, *UNTRAINED, f"paths.outputs={bare_outputs}", "layer=2", "injection=colder",
                   "control.names=[fitted,mean,negated]", "dataset.size=60", "task.n_resamples=50")  # fmt: skip
    assert "layer 2→4, colder, n=60" in shown
    assert any(line.split()[:1] == ["negated"] for line in shown.splitlines())
    (path,) = bare_outputs.glob("runs/*/record.json")
    point = json.loads(path.read_text())["points"][0]
    assert set(point["scores"]) >= {"fitted", "mean", "negated"}
    assert {"p", "p_exact"} <= point["contrasts"]["negated"]["top1"].keys()


def test_they_are_listed_and_chosen_from_the_shell(copied: Path) -> None:
    assert "the direction of a state does not matter" in bridge(copied, "controls")
    composed = bridge(copied, "--cfg", "job", "control=negated", "injection=colder", "injection.factor=2")
    assert "factor: 2" in composed
    assert "- negated" in composed


def test_a_kind_of_model_is_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bridge.models.loading import load

    config = BertConfig(vocab_size=60, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    BertForMaskedLM(config).save_pretrained(tmp_path / "bert")
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(
        tmp_path / "bert"
    )
    monkeypatch.setitem(
        kinds.KINDS, "masked", Kind("masked", "a masked language model", "AutoModelForMaskedLM", has_head=False)
    )
    loaded = load(str(tmp_path / "bert"), kind="masked")
    assert type(loaded.model) is BertForMaskedLM
    assert loaded.anatomy.n_blocks == 2
