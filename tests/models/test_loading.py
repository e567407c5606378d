import dataclasses
import shutil

import httpx
import pytest
import torch
import transformers
from families import build, word_tokenizer
from huggingface_hub.errors import RevisionNotFoundError

from bridge.config import compose_config
from bridge.errors import ConfigError, ModelError
from bridge.models.encoding import added_tokens, encode
from bridge.models.fingerprints import commit, fingerprint
from bridge.models.loading import load, load_tokenizer
from bridge.session import Session


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A tiny Llama as `save_pretrained` writes it."""
    folder = tmp_path_factory.mktemp("saved") / "tiny llama"
    build("llama").save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(saved, tmp_path / "copy")


def test_a_saved_model_comes_back_ready_to_use(saved):
    lm = load(str(saved), device="cpu")
    ids = torch.arange(4, 12)[None]
    assert torch.equal(lm.model(ids).logits, build("llama")(ids).logits)
    assert (lm.name, lm.revision, lm.dtype, lm.device) == (
        str(saved),
        None,
        torch.float32,
        torch.device("cpu"),
    )
    assert lm.anatomy.n_blocks == 4
    assert lm.fingerprint == fingerprint(str(saved))
    assert not lm.model.training
    assert not any(parameter.requires_grad for parameter in lm.model.parameters())
    assert lm.encode(["w5 w6", "w7"]) == [[1, 5, 6], [1, 7]]


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("float32", torch.float32),
        ("bfloat16", torch.bfloat16),
        ("float16", torch.float16),
        ("auto", torch.bfloat16),
    ],
)
def test_every_name_of_a_dtype_is_that_dtype_and_auto_is_the_stored_one(tmp_path, name, dtype):
    build("llama").to(torch.bfloat16).save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    lm = load(str(tmp_path), dtype=name)
    assert lm.dtype == dtype
    assert {parameter.dtype for parameter in lm.model.parameters()} == {dtype}


def test_attention_and_device_map_are_passed_on_and_device_is_then_not_used(saved, monkeypatch):
    lm = load(str(saved), attn_implementation="eager")
    assert lm.model.config._attn_implementation == "eager"
    asked = []
    through = transformers.AutoModelForCausalLM.from_pretrained
    monkeypatch.setattr(
        "transformers.AutoModelForCausalLM.from_pretrained",
        lambda *args, **options: asked.append(options["device_map"]) or through(*args, **options),
    )
    assert load(str(saved), device="no such device", device_map="auto").anatomy.n_blocks == 4
    assert asked == ["auto"]


def test_the_fingerprint_follows_weights_config_and_tokenizer_and_nothing_else(folder):
    before = fingerprint(str(folder))
    assert before.startswith("sha256:")
    assert len(before) == len("sha256:") + 64
    (folder / "README.md").write_text("changed")
    (folder / "notes.json").write_text("{}")
    assert fingerprint(str(folder)) == before
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        path = folder / name
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert fingerprint(str(folder)) != before, name
        path.write_bytes(content)
        assert fingerprint(str(folder)) == before


def test_the_fingerprint_does_not_depend_on_where_the_folder_lies(saved, folder):
    assert fingerprint(str(saved)) == fingerprint(str(folder))


def test_a_hub_id_is_fingerprinted_by_its_commit_and_read_at_that_commit(monkeypatch, saved, tmp_path):
    commits = {"main": "1" * 40, "old": "2" * 40}
    monkeypatch.setattr(
        "huggingface_hub.hf_hub_download",
        lambda name, file, revision=None: f"/cache/models--a--b/snapshots/{commits[revision or 'main']}/{file}",
    )
    monkeypatch.setattr("bridge.models.fingerprints.commit", commit.__wrapped__)
    assert fingerprint("a/b") == f"a/b@{'1' * 40}"
    assert fingerprint("a/b", "old") == f"a/b@{'2' * 40}"
    asked = []
    monkeypatch.setattr(
        "transformers.AutoTokenizer.from_pretrained",
        lambda name, **options: asked.append((name, options)),
    )
    load_tokenizer("a/b", "old")
    assert asked == [("a/b", {"trust_remote_code": False, "revision": "2" * 40})]


def test_a_hub_id_that_cannot_be_reached_is_refused_in_one_line():
    for call in (load, fingerprint, load_tokenizer):
        with pytest.raises(ModelError) as caught:
            call("nobody/nothing")
        assert str(caught.value) == (
            "nobody/nothing is neither a local folder nor reachable on the Hugging Face hub; wanted one of the two: give a folder "
            "written by save_pretrained, or get the model first where there is a network: `hf auth login` "
            "if it is gated, then `hf download nobody/nothing`"
        )
    with pytest.raises(ModelError, match=r"^nobody/nothing at revision v2 is neither a local folder nor reachable"):
        fingerprint("nobody/nothing", "v2")


def test_a_folder_has_no_revision(saved):
    for call in (load, fingerprint, load_tokenizer):
        with pytest.raises(ModelError) as caught:
            call(str(saved), "step3000")
        assert str(caught.value) == (
            f"revision step3000 was asked for of {saved}, a local folder, which has none; wanted a hub id, or no revision: "
            "leave pair.source.revision or pair.target.revision null, or give the folder of that revision"
        )


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """A cache of the hub that holds two revisions of one model."""
    model = tmp_path / "models--EleutherAI--pythia-70m-seed1"
    for digit, revision in (("1", "step3000"), ("2", "main")):
        snapshot = model / "snapshots" / (digit * 40)
        neox = build("gpt_neox")
        with torch.no_grad():
            neox.get_output_embeddings().weight.fill_(float(digit))
        neox.save_pretrained(snapshot)
        word_tokenizer().save_pretrained(snapshot)
        (model / "refs").mkdir(exist_ok=True)
        (model / "refs" / revision).write_text(digit * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("bridge.models.fingerprints.commit", commit.__wrapped__)


def test_the_revision_of_a_pair_is_the_one_that_is_loaded(cached, tmp_path):
    pair = compose_config("pair=pythia_70m_seeds", "pair.source.revision=step3000").pair
    session = Session(tmp_path / "outputs", "cpu", 4)
    assert session.fingerprint(pair.source) == f"EleutherAI/pythia-70m-seed1@{'1' * 40}"
    lm = session.model(pair.source)
    assert lm.revision == "step3000"
    assert (lm.anatomy.head.weight == 1).all()
    assert (load("EleutherAI/pythia-70m-seed1").anatomy.head.weight == 2).all()


def test_a_revision_that_is_not_in_the_cache_is_refused_in_one_line_with_those_that_are(cached):
    for call in (load, fingerprint, load_tokenizer):
        with pytest.raises(ModelError) as caught:
            call("EleutherAI/pythia-70m-seed1", "step9")
        assert str(caught.value) == (
            "EleutherAI/pythia-70m-seed1 is in the cache of the Hugging Face hub, but not at revision step9, and the "
            "hub does not answer; wanted a revision that is there (main, step3000): change pair.source.revision or "
            "pair.target.revision, or get it first where there is a network: "
            "`hf download EleutherAI/pythia-70m-seed1 --revision step9`"
        )


def test_a_revision_that_the_hub_does_not_know_is_refused_in_one_line(monkeypatch):
    request = httpx.Request("GET", "https://huggingface.co")
    unknown = RevisionNotFoundError("404", response=httpx.Response(404, request=request))

    def refuse(*args, **options):
        raise unknown

    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    with pytest.raises(ModelError) as caught:
        fingerprint("a/b", "step9")
    assert str(caught.value) == (
        "a/b has no revision step9 on the Hugging Face hub; wanted a branch, tag or commit of it: change "
        "pair.source.revision or pair.target.revision"
    )


def test_a_name_that_could_never_be_a_hub_id_is_refused_in_one_line():
    with pytest.raises(ModelError, match=r"^\./no such/folder/at all is neither a local folder nor") as caught:
        load("./no such/folder/at all")
    assert "\n" not in str(caught.value)


def test_a_folder_without_weights_is_refused_in_one_line(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ModelError) as caught:
        load(str(folder))
    assert str(caught.value) == (
        f"{folder} is a model folder without weights; wanted a *.safetensors file in it: save the model there with "
        "save_pretrained, or give another folder"
    )


def test_a_folder_without_a_config_is_refused_in_one_line(tmp_path):
    with pytest.raises(ModelError) as caught:
        load(str(tmp_path))
    assert (
        str(caught.value)
        == f"{tmp_path} is a folder without config.json; wanted a saved model: give a folder written by save_pretrained"
    )


def test_damaged_weights_are_refused_in_one_line(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"could not be loaded as a causal language model \(SafetensorError") as caught:
        load(str(folder))
    assert "\n" not in str(caught.value)


def test_weights_that_do_not_fill_the_model_are_refused(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 of the weights of a LlamaForCausalLM \(model\.layers\.1\.mlp\.up_"):
        load(str(folder))


def test_a_model_that_is_no_causal_language_model_is_refused_in_one_line(tmp_path):
    transformers.T5Config(num_layers=1).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match=r"could not be loaded as a causal language model \(ValueError: ") as caught:
        load(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_tokenizer_is_refused_in_one_line(tmp_path):
    build("llama").save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"has no tokenizer that can be loaded \(") as caught:
        load(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_an_unknown_dtype_or_device_is_refused_in_one_line(saved):
    with pytest.raises(
        ConfigError, match=r"^dtype='int8' is unknown; wanted one of float32, bfloat16, float16, auto: change it$"
    ):
        load(str(saved), dtype="int8")
    with pytest.raises(
        ConfigError, match=r"^device='gpu' is unknown; wanted a device of torch: give auto, cpu, cuda or cuda:N$"
    ):
        load(str(saved), device="gpu")


@pytest.mark.skipif(torch.cuda.device_count() > 8, reason="wants fewer than nine GPUs")
def test_a_gpu_that_is_not_there_is_refused_in_one_line(saved):
    n = torch.cuda.device_count()
    with pytest.raises(ConfigError) as caught:
        load(str(saved), device="cuda:8")
    assert (
        str(caught.value)
        == f"device='cuda:8' was asked for and torch sees {n} GPUs; wanted a device that exists: give device=cpu or auto"
    )


def test_an_end_of_text_token_is_stripped_only_where_the_tokenizer_adds_it():
    assert encode(word_tokenizer("<s> $A </s>"), ["w5 w6", ""]) == [[1, 5, 6], [1]]
    assert encode(word_tokenizer("<s> $A"), ["w5 </s>"]) == [[1, 5, 2]]
    assert encode(word_tokenizer(None), ["w5 </s>", "w6"]) == [[5, 2], [6]]
    assert encode(word_tokenizer(), []) == []


def test_token_ids_are_encoded_as_they_are_and_texts_beside_them_as_ever():
    tokenizer = word_tokenizer("<s> $A </s>")
    assert encode(tokenizer, [(7, 2), "w5 w6", (), "w6"]) == [[7, 2], [1, 5, 6], [], [1, 6]]
    assert encode(tokenizer, [(7,)]) == [[7]]


class SlowTokenizer(transformers.PreTrainedTokenizer):
    """A letter is a token; it tells of no offsets and, as many do, of no special tokens."""

    vocab_size = 99

    def __init__(self, before=(), after=(), **options):
        self.before, self.after = list(before), list(after)
        super().__init__(**options)

    def get_vocab(self):
        return {chr(i): i for i in range(3, 99)} | {"<s>": 1, "</s>": 2}

    def _tokenize(self, text, **_):
        return list(text)

    def _convert_token_to_id(self, token):
        return {"<s>": 1, "</s>": 2}.get(token, ord(token) % 99)

    def build_inputs_with_special_tokens(self, token_ids_0, token_ids_1=None):
        return [*self.before, *token_ids_0, *self.after]


@pytest.mark.parametrize(
    ("tokenizer", "added", "encoded"),
    [
        (word_tokenizer(), ((1,), ()), [1, 3]),
        (word_tokenizer(None), ((), ()), [3]),
        (word_tokenizer("<s> $A </s>"), ((1,), ()), [1, 3]),
        (word_tokenizer("<s> </s> $A </s> <s>"), ((1, 2), (2, 1)), [1, 2, 3, 2, 1]),
        (SlowTokenizer(), ((), ()), [97]),
        (SlowTokenizer(before=[97]), ((97,), ()), [97, 97]),
        (SlowTokenizer(before=[1], after=[2], eos_token="</s>"), ((1,), ()), [1, 97]),
        (SlowTokenizer(before=[1], after=[2]), ((1,), (2,)), [1, 97, 2]),
    ],
)
def test_added_tokens_are_those_around_every_text_that_encode_leaves_there(tokenizer, added, encoded):
    assert added_tokens(tokenizer) == added
    assert encode(tokenizer, ["a"]) == [encoded]


def test_loading_something_small_draws_no_bars(saved, capfd):
    load(str(saved))
    assert capfd.readouterr().err == ""


def test_remote_code_is_off_unless_asked_for(folder, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "transformers.AutoConfig.from_pretrained",
        lambda path, **options: seen.append(options) or 1 / 0,
    )
    for options in ({}, {"trust_remote_code": True}):
        with pytest.raises(ModelError, match="ZeroDivisionError"):
            load(str(folder), **options)
    assert [options["trust_remote_code"] for options in seen] == [False, True]


def test_a_loaded_model_can_be_changed_field_by_field(saved):
    lm = load(str(saved))
    assert dataclasses.replace(lm, name="other").anatomy is lm.anatomy
