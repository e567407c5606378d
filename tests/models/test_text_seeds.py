"""Seeds of a small GPT-NeoX that are trained on a text file."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from bridge.errors import DataError
from bridge.models.loading import load
from bridge.models.recipe import KIND, TextSpec
from bridge.models.seeded import ensure_seeds
from bridge.models.text_seeds import Windows, make_model, train_text_seeds, train_tokenizer
from bridge.models.zoo import ensure
from bridge.records.artefacts import Artefacts


def story(n_sentences: int = 1500) -> str:
    """Sentences (40 KB) whose last word follows from their first."""
    rng, who = np.random.default_rng(0), ["cat", "dog", "owl", "fox"]
    does = ["sleeps in the house", "runs over the field", "sits on the tree", "digs under the stone"]
    return "\n".join(f"The {who[i]} {does[i]}." for i in rng.integers(0, 4, n_sentences)) + "\n"


@pytest.fixture
def spec(tmp_path: Path) -> TextSpec:
    (tmp_path / "story.txt").write_text(story())
    return TextSpec(str(tmp_path / "story.txt"), width=32, n_blocks=2, n_steps=60, n_warmup=10, context=32, seed=1)


def parts(spec: TextSpec) -> tuple[transformers.PreTrainedTokenizerFast, str]:
    return train_tokenizer(story(), spec.vocab_size), story()


def test_seeds_learn_the_text_and_load_as_causal_language_models(spec: TextSpec, tmp_path: Path) -> None:
    store, two = Artefacts(tmp_path / "artefacts"), replace(spec, seed=2)
    folders = ensure({"one": spec, "two": two, "start": replace(two, checkpoint=0)}, store)
    loaded = {name: load(str(folder)) for name, folder in folders.items()}
    one, second, start = loaded["one"], loaded["two"], loaded["start"]
    assert type(one.model).__name__ == "GPTNeoXForCausalLM"
    assert (one.anatomy.n_blocks, one.anatomy.width) == (2, 32)
    text = "The owl sits on the tree.\nThe fox digs under the stone.\n"
    ids = torch.tensor(one.encode([text]))
    assert one.encode([text]) == second.encode([text])
    assert one.tokenizer.decode(ids[0]) == text
    after = {name: float(lm.model(ids, labels=ids).loss) for name, lm in loaded.items()}
    assert after["start"] > 5
    assert max(after["one"], after["two"]) < 1.6, after
    head = start.anatomy.head.weight, second.anatomy.head.weight, one.anatomy.head.weight
    assert all((head[i] - head[j]).abs().max() > 0.05 for i, j in ((0, 1), (1, 2)))
    assert spec.kept == (0, 1, 3, 7, 15, 30, 60)
    assert all(store.find(KIND, replace(spec, checkpoint=step).made_from()) for step in spec.kept)


def test_training_is_the_one_that_torch_does_with_an_ordinary_loop(spec: TextSpec) -> None:
    spec = replace(spec, n_steps=3, n_warmup=2, width=16)
    tokenizer, text = parts(spec)
    with torch.random.fork_rng():
        torch.manual_seed(spec.seed)
        model = make_model(spec, len(tokenizer))
    ids = torch.tensor(tokenizer(text)["input_ids"])
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-4, betas=(0.9, 0.95))
    for lr, (inputs, following) in zip([1.5e-3, 3e-3, 3e-3], Windows(ids, spec), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad()
        logits = model(inputs).logits
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), following.flatten()).backward()
        optimizer.step()
    trained, _ = train_text_seeds([spec, replace(spec, seed=7)], tokenizer, text)
    for name, parameter in model.state_dict().items():
        if not name.endswith("query_key_value.bias"):
            torch.testing.assert_close(trained.state_dict()[name], parameter, rtol=1e-3, atol=1e-4, msg=name)


def test_a_window_is_followed_by_its_next_token_and_every_seed_has_its_own(spec: TextSpec) -> None:
    ids = torch.arange(1000)
    one, again, two = (next(Windows(ids, s)) for s in (spec, spec, replace(spec, seed=2)))
    assert one[0].shape == one[1].shape == (16, 32)
    assert torch.equal(one[0] + 1, one[1])
    assert torch.equal(one[0][:, 1:], one[1][:, :-1])
    assert torch.equal(one[0], again[0])
    assert not torch.equal(one[0], two[0])
    last = next(Windows(ids[:33], spec))
    assert (last[1][:, -1] == 32).all()


def test_the_key_holds_the_content_of_the_file_and_not_its_place(spec: TextSpec, tmp_path: Path) -> None:
    (tmp_path / "copy.txt").write_text(story())
    (tmp_path / "other.txt").write_text(story() + "The end.\n")
    assert replace(spec, text=str(tmp_path / "copy.txt")).made_from() == spec.made_from()
    assert str(tmp_path) not in str(spec.made_from())
    others = [
        replace(spec, text=str(tmp_path / "other.txt")),
        *(replace(spec, **{f: 9}) for f in vars(spec) if f != "text"),
    ]
    made = [str(s.made_from()) for s in (spec, *others)]
    assert len(set(made)) == len(made) == 11


def test_any_text_can_be_written_by_the_tokenizer(spec: TextSpec) -> None:
    tokenizer = parts(spec)[0]
    for text in ("The cat", " ünï \n\t 日本", "  two  spaces"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer) <= spec.vocab_size
    assert tokenizer("")["input_ids"] == []


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, r"the file .*bad\.txt cannot be read \(No such file or directory\); wanted a data file: check the path"),
        (b"", r"the file .*bad\.txt is empty; wanted a text: check how it was written"),
        (b"\xff\xfe", r"the file .*bad\.txt is not UTF-8 text \(invalid start byte\); wanted UTF-8: save it as that"),
        (b"The end.", r".*bad\.txt has \d+ tokens; wanted more than context=32: give a longer text, or lower pair\.s"),
    ],
)
def test_a_file_that_cannot_be_learnt_is_one_clear_line(
    spec: TextSpec, tmp_path: Path, content: bytes | None, text: str
) -> None:
    if content is not None:
        (tmp_path / "bad.txt").write_bytes(content)
    bad: Sequence[TextSpec] = [replace(spec, text=str(tmp_path / "bad.txt"))]
    with pytest.raises(DataError, match=f"^{text}") as caught:
        ensure_seeds(bad, Artefacts(tmp_path / "artefacts"), "cpu")
    assert "\n" not in str(caught.value)
