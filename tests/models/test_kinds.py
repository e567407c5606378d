"""Models of another kind than causal: without a head, and with a vector for each text."""

from pathlib import Path

import pytest
import torch
import transformers
from families import VOCAB_SIZE, build, loaded, word_tokenizer
from untrained import SMALL

from bridge.activations.extract import extract
from bridge.config import compose_config
from bridge.errors import ConfigError, ModelError
from bridge.models.anatomy import anatomy
from bridge.models.embedding import embed
from bridge.models.kinds import KINDS
from bridge.models.loading import LoadedModel, load
from bridge.run import run

TEXTS = ["w4 w5 w6", "w7 w8", "w9 w10 w11", "w12"]
SHAPE = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}


def encoder(family: str) -> transformers.PreTrainedModel:
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**SHAPE)
    return getattr(transformers, f"{family}Model")(config).eval()


@pytest.fixture(params=["Bert", "Roberta", "Electra", "ModernBert"])
def embedder(request: pytest.FixtureRequest, tmp_path: Path) -> LoadedModel:
    """A tiny encoder, saved and loaded, whose tokenizer ends every text."""
    encoder(request.param).save_pretrained(tmp_path)
    word_tokenizer("<s> $A </s>").save_pretrained(tmp_path)
    return load(str(tmp_path), device="cpu", kind="embedder")


def alone(lm: LoadedModel, text: str) -> torch.Tensor:
    """Last hidden states (t, d) of one text with all of its special tokens."""
    ids = torch.tensor(lm.tokenizer([text])["input_ids"])
    return lm.model(input_ids=ids).last_hidden_state[0]


def test_an_embedder_is_loaded_without_a_head_and_reads_its_own_end_of_text(embedder: LoadedModel) -> None:
    assert embedder.anatomy.head is None
    assert (embedder.anatomy.n_blocks, embedder.anatomy.width, embedder.anatomy.vocab_size) == (3, 32, VOCAB_SIZE)
    assert embedder.kind is KINDS["embedder"]
    assert embedder.encode(["w5 w6"]) == [[1, 5, 6, 2]]


def test_a_vector_is_the_pooled_last_state_of_the_text_alone(embedder: LoadedModel) -> None:
    states = [alone(embedder, text) for text in TEXTS]
    for pooling, pool in (("mean", lambda s: s.mean(0)), ("last", lambda s: s[-1]), ("cls", lambda s: s[0])):
        truth = torch.stack([pool(s) for s in states])
        got = embed(embedder, TEXTS, pooling, batch_size=2)
        torch.testing.assert_close(got, truth, rtol=0.0, atol=1e-5)
    assert not torch.allclose(embed(embedder, TEXTS, "mean"), embed(embedder, TEXTS, "cls"), atol=1e-3)


def test_the_states_of_every_layer_can_be_read(embedder: LoadedModel) -> None:
    states = extract(embedder, TEXTS, [0, 1, 2, 3])
    ids = torch.tensor(embedder.tokenizer([TEXTS[1]])["input_ids"])
    hidden = embedder.model(input_ids=ids, output_hidden_states=True).hidden_states
    for layer in (0, 1, 2):
        torch.testing.assert_close(states[layer][1], hidden[layer][0, -1], rtol=0.0, atol=1e-5)
    last = states[3] if embedder.anatomy.final_norm is None else embedder.anatomy.final_norm(states[3])
    torch.testing.assert_close(last, embed(embedder, TEXTS, "last"), rtol=0.0, atol=1e-5)


def test_an_encoder_of_another_head_is_read_without_its_pooler(tmp_path: Path) -> None:
    torch.manual_seed(0)
    masked = transformers.BertForMaskedLM(transformers.BertConfig(**SHAPE)).eval()
    masked.save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    lm = load(str(tmp_path), device="cpu", kind="embedder")
    ids = torch.tensor(lm.encode([TEXTS[0]]))
    truth = masked.bert(ids).last_hidden_state[0].mean(0)
    torch.testing.assert_close(embed(lm, TEXTS[:1])[0], truth, rtol=0.0, atol=1e-5)


def test_a_causal_model_is_an_embedder_too_where_it_is_asked_to_be(tmp_path: Path) -> None:
    build("llama").save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    lm = load(str(tmp_path), device="cpu", kind="embedder")
    assert (type(lm.model).__name__, lm.anatomy.head) == ("LlamaModel", None)
    for one in (lm, loaded("llama")):
        torch.testing.assert_close(embed(one, TEXTS, "last"), embed(lm, TEXTS, "last"), rtol=0.0, atol=1e-5)


def test_what_is_not_known_gets_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^kind='oracle' is no kind of models; wanted one of causal, embedder, dyck: change it$"
    ):
        load(str(tmp_path), kind="oracle")
    with pytest.raises(ConfigError, match=r"^pooling='max' is unknown; wanted one of mean, last, cls: change it$"):
        embed(loaded("llama"), TEXTS, "max")
    with pytest.raises(ModelError, match=r"^BertModel has no output head; wanted one: give a causal language model$"):
        anatomy(encoder("Bert"))


def test_a_cell_that_decodes_refuses_a_model_without_a_head(bare_outputs: Path, tmp_path: Path) -> None:
    encoder("Bert").save_pretrained(tmp_path / "bert")
    word_tokenizer().save_pretrained(tmp_path / "bert")
    words = [f"paths.outputs={bare_outputs}", f"pair.target.name={tmp_path / 'bert'}", "pair.target.kind=embedder"]
    text = (
        rf"^{tmp_path / 'bert'} is an embedder, which writes no tokens; wanted a model that does, as task=translate "
        "scores them: give pair.target.kind=causal, or another task$"
    )
    with pytest.raises(ConfigError, match=text):
        run(compose_config(*(w for w in SMALL if "target.zoo" not in w), *words, "pair.target.zoo=null"))
