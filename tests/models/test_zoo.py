"""The small models that bridge trains itself."""

import subprocess
import sys
import textwrap
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

SPEC = ZooSpec(n_blocks=2, width=16, n_steps=3)


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


@pytest.mark.long
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


def test_the_folder_name_depends_on_every_field_and_on_the_facts(monkeypatch: pytest.MonkeyPatch) -> None:
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
    names = {ZooSpec(**{field: value}).folder_name("m") for field, value in changes.items()}  # type: ignore[arg-type]
    names.add(ZooSpec().folder_name("m"))
    assert len(names) == len(changes) + 1
    assert all(name.startswith("m-") for name in names)
    monkeypatch.setattr(recipe, "RECIPE_VERSION", 99)
    names.add(ZooSpec().folder_name("m"))
    monkeypatch.setattr(recipe, "relations", dict)
    names.add(ZooSpec().folder_name("m"))
    monkeypatch.setattr(recipe, "nouns", tuple)
    names.add(ZooSpec().folder_name("m"))
    assert len(names) == len(changes) + 4


@pytest.mark.long
def test_two_processes_that_want_one_model_train_it_once(tmp_path: Path) -> None:
    code = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from bridge.models import zoo
        folder, log = Path(sys.argv[1]), Path(sys.argv[2])
        trained = zoo.train
        def train(*arguments):
            with log.open("a") as stream:
                stream.write("trained\\n")
            trained(*arguments)
        zoo.train = train
        zoo._train_into_place(zoo.ZooSpec(n_blocks=1, width=16, n_steps=2), folder, 0)
        """
    )
    words = [sys.executable, "-c", code, str(tmp_path / "models" / "one"), str(tmp_path / "log")]
    both = [subprocess.Popen(words, stderr=subprocess.PIPE) for _ in range(2)]
    for process in both:
        process.communicate(timeout=480)
    assert [process.returncode for process in both] == [0, 0]
    assert (tmp_path / "log").read_text() == "trained\n"
    assert {p.name for p in (tmp_path / "models").iterdir()} == {".locks", "one"}


def test_a_model_that_is_there_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / SPEC.folder_name("mine")
    folder.mkdir()
    monkeypatch.setattr(zoo, "_start", lambda *arguments: pytest.fail("it was trained again"))
    assert ensure({"mine": SPEC}, tmp_path) == {"mine": folder}


def test_an_interrupted_training_leaves_nothing_that_looks_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(spec: ZooSpec, folder: Path, bar_position: int) -> None:
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(zoo, "train", half)
    with pytest.raises(KeyboardInterrupt):
        zoo._train_into_place(SPEC, tmp_path / "mine", 0)
    assert [p.name for p in tmp_path.iterdir()] == [".locks"]


def test_what_a_killed_training_left_is_cleared_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".mine.unfinished").mkdir()
    (tmp_path / ".mine.unfinished" / "model.safetensors").write_bytes(b"half")
    monkeypatch.setattr(zoo, "train", lambda spec, folder, position: folder.mkdir())
    zoo._train_into_place(SPEC, tmp_path / "mine", 0)
    assert {p.name for p in tmp_path.iterdir()} == {".locks", "mine"}
    assert not list((tmp_path / "mine").iterdir())


def test_a_training_that_is_killed_is_an_error_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*arguments: object) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], stdout=subprocess.PIPE, text=True
        )

    monkeypatch.setattr(zoo, "_start", dies)
    with pytest.raises(ModelError, match=r"^training mine ended with exit code -9; run the same command again$"):
        ensure({"mine": SPEC}, tmp_path)


@pytest.mark.long
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        StoreError, match=r"^cannot write the models to .*/file/models \(Not a directory\); free some space, or set"
    ):
        ensure({"mine": SPEC}, tmp_path / "file" / "models")


@pytest.mark.long
def test_a_script_without_a_main_guard_trains_its_models(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "print('once')\n"
        "from pathlib import Path\n"
        "from bridge.models.zoo import ZooSpec, ensure\n"
        "print(ensure({'mine': ZooSpec(n_blocks=1, width=16, n_steps=1)}, Path('models'))['mine'])\n"
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "once"
    assert (tmp_path / done.stdout.splitlines()[1] / "model.safetensors").is_file()
    assert done.stderr == ""


def test_nearly_every_answer_is_one_token_in_both_tokenizers() -> None:
    spec = ZooSpec()
    found = rosetta_set(Facts().load(), *(train_tokenizer(kind, spec.vocab_size) for kind in ("word", "bpe")))
    assert found.coverage["kept"] / found.coverage["loaded"] >= 0.95
    assert found.coverage["kept"] >= 800


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
