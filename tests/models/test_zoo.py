"""The small models that bridge trains itself."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from bridge.data.rosetta import rosetta_set
from bridge.data.sources import Facts
from bridge.errors import ModelError, StoreError
from bridge.models import recipe, zoo
from bridge.models.recipe import ZooSpec
from bridge.models.zoo import (
    _Lines,
    _model,
    copy_lines,
    ensure,
    fact_lines,
    train,
    train_tokenizer,
)
from bridge.records.artefacts import Artefacts

SPEC = ZooSpec(n_blocks=2, width=16, n_steps=3)


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_two_trainings_of_one_seed_give_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    for name, spec in (("a", SPEC), ("b", SPEC), ("c", replace(SPEC, seed=1))):
        train(spec, tmp_path / name)
    assert {p.name for p in (tmp_path / "a").iterdir()} == {p.name for p in (tmp_path / "b").iterdir()}
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name
    assert weights(tmp_path / "a") != weights(tmp_path / "c")


@pytest.mark.parametrize(("architecture", "tokenizer"), [("llama", "word"), ("mistral", "bpe")])
def test_a_model_is_saved_in_the_ordinary_format(tmp_path: Path, architecture: str, tokenizer: str) -> None:
    train(replace(SPEC, architecture=architecture, tokenizer=tokenizer), tmp_path / "mine")  # type: ignore[arg-type]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "mine")
    read = AutoTokenizer.from_pretrained(tmp_path / "mine")
    assert type(model).__name__ == f"{architecture.capitalize()}ForCausalLM"
    assert (model.config.num_hidden_layers, model.config.hidden_size) == (2, 16)
    assert model.config.vocab_size == len(read)
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    made = train_tokenizer(tokenizer, SPEC.vocab_size)  # type: ignore[arg-type]
    text = "The capital of France is Paris"
    ids = read(text)["input_ids"]
    assert ids == made(text)["input_ids"]
    assert ids[0] == read.bos_token_id
    assert read.decode(ids, skip_special_tokens=True).strip() == text
    with torch.inference_mode():
        assert torch.isfinite(model(torch.tensor([ids])).logits).all()


def test_what_a_model_is_made_from_names_every_field_the_facts_and_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {
        "architecture": "mistral",
        "tokenizer": "bpe",
        "seed": 9,
        "n_blocks": 9,
        "width": 9,
        "n_steps": 9,
        "vocab_size": 9,
    }
    assert changes.keys() == vars(ZooSpec()).keys()
    origins = [ZooSpec(**{field: value}).made_from() for field, value in changes.items()]  # type: ignore[arg-type]
    origins.append(ZooSpec().made_from())
    assert origins[-1] == ZooSpec().made_from()
    monkeypatch.setattr(recipe, "RECIPE_VERSION", 99)
    origins.append(ZooSpec().made_from())
    monkeypatch.setattr(recipe, "relations", dict)
    origins.append(ZooSpec().made_from())
    monkeypatch.setattr(recipe, "nouns", tuple)
    origins.append(ZooSpec().made_from())
    assert len({json.dumps(origin) for origin in origins}) == len(origins) == len(changes) + 4


def test_a_model_is_trained_once_and_again_when_it_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = Artefacts(tmp_path)
    # In this process, to save one; the second time it is a process that trains.
    folder = store.ensure(zoo.KIND, SPEC.made_from(), lambda folder: train(SPEC, folder))
    assert folder.parent == tmp_path / "model"
    made = weights(folder)
    with monkeypatch.context() as patch:
        patch.setattr(zoo, "_start", lambda *arguments: pytest.fail("it was trained again"))
        assert ensure({"another name": SPEC}, store) == {"another name": folder}
    (folder / "model.safetensors").write_bytes(made[:-1])
    caplog.clear()
    assert ensure({"mine": SPEC}, store) == {"mine": folder}
    assert weights(folder) == made
    (line,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert line == f"{folder} is damaged (model.safetensors is not the file that was written) and is made again"


def test_a_training_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    with zoo._start(Artefacts(tmp_path), {"mine": replace(SPEC, n_steps=100_000)}, "cpu", 0) as process:
        until = time.monotonic() + 120
        while not list(tmp_path.glob("model/.*.unfinished")):
            assert time.monotonic() < until, "the training has not begun"
            time.sleep(0.1)
        process.terminate()
        assert process.wait(timeout=60) == 143
    assert [p.name for p in (tmp_path / "model").iterdir()] == [".locks"]


def test_a_training_that_drops_its_first_signal_is_stopped_by_the_next(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time\n"
        "def first(*_):\n"
        "    signal.signal(signal.SIGTERM, signal.SIG_DFL)\n"
        "signal.signal(signal.SIGTERM, first)\n"
        f"open({str(tmp_path / 'begun')!r}, 'w').close()\n"
        "time.sleep(100)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "begun").exists():
            time.sleep(0.05)
        zoo._stop(process)
        assert process.returncode == -15


def test_a_training_that_is_killed_is_an_error_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*arguments: object) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], stdout=subprocess.PIPE, text=True
        )

    monkeypatch.setattr(zoo, "_start", dies)
    with pytest.raises(
        ModelError, match=r"^training mine ended with exit code -9; wanted 0: run the same command again$"
    ):
        ensure({"mine": SPEC}, Artefacts(tmp_path))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        StoreError, match=r"^cannot write to .*/file/artefacts: Not a directory; free some space or set paths.outputs"
    ):
        ensure({"mine": SPEC}, Artefacts(tmp_path / "file" / "artefacts"))


def test_a_script_without_a_main_guard_trains_its_models(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "print('once')\n"
        "from bridge.models.zoo import ZooSpec, ensure\n"
        "from bridge.records.artefacts import Artefacts\n"
        "print(ensure({'mine': ZooSpec(n_blocks=1, width=16, n_steps=1)}, Artefacts('models'))['mine'])\n"
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "once"
    assert (tmp_path / done.stdout.splitlines()[1] / "model.safetensors").is_file()
    assert done.stderr == ""


def test_nearly_every_answer_is_one_token_in_both_tokenizers() -> None:
    spec = ZooSpec()
    rosetta = rosetta_set(Facts().load(), *(train_tokenizer(kind, spec.vocab_size) for kind in ("word", "bpe")))
    assert rosetta.coverage["kept"] / rosetta.coverage["loaded"] >= 0.95
    assert rosetta.coverage["kept"] >= 800


def test_the_wording_that_is_asked_is_never_trained_on() -> None:
    trained = {prompt for prompt, _ in fact_lines()}
    assert not trained & {item.prompt for item in Facts().load()}
    assert {answer for _, answer in fact_lines()} <= {word for _, word in copy_lines()}


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_the_loss_is_of_the_answer_alone(kind: str) -> None:
    tokenizer = train_tokenizer(kind, SPEC.vocab_size)  # type: ignore[arg-type]
    lines = [("The capital of France is", "Paris"), ("Again Rome gives", "Rome"), ("The kondel is", "red small")]
    read = _Lines.of(lines, tokenizer)
    for (prompt, answer), ids, targets in zip(lines, read.ids, read.targets, strict=True):
        whole = tokenizer(f"{prompt} {answer}")["input_ids"]
        assert ids[: len(whole)].tolist() == whole
        assert tokenizer.decode(targets[targets >= 0]).strip() == answer
        last = len(tokenizer(prompt)["input_ids"]) - 1
        assert (targets >= 0).nonzero().flatten().tolist() == list(range(last, len(whole) - 1))


def test_the_loss_of_some_lines_is_their_mean_whatever_is_padded() -> None:
    tokenizer = train_tokenizer("word", SPEC.vocab_size)
    model = _model(SPEC, len(tokenizer))
    lines = [("The capital of France is", "Paris"), ("Again Rome gives", "Rome"), ("A city", "Rome")]
    read = _Lines.of(lines, tokenizer)
    alone = [_Lines.of([line], tokenizer).loss(model, torch.tensor([0])) for line in lines]
    torch.testing.assert_close(read.loss(model, torch.tensor([2, 0])), (alone[2] + alone[0]) / 2)
    ids = torch.tensor([tokenizer("Again Rome gives Rome")["input_ids"]])
    logits = model(ids).logits[0, -2]
    torch.testing.assert_close(alone[1], torch.nn.functional.cross_entropy(logits, ids[0, -1]))


def test_two_architectures_of_one_seed_share_no_random_number() -> None:
    llama, mistral = (ZooSpec(architecture=a, tokenizer=t) for a, t in (("llama", "word"), ("mistral", "bpe")))  # type: ignore[arg-type]
    assert len({llama.torch_seed, mistral.torch_seed, replace(llama, seed=1).torch_seed}) == 3
