import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from bridge.errors import DataError
from bridge.sae.base import SAE
from bridge.sae.formats import load_sae, save_sae

D, M = 4, 9
GIVEN: dict[str, dict[str, Any]] = {
    "topk": {"k": 3},
    "batch_topk": {"k": 3, "threshold": 0.25},
    "relu_l1": {},
    "jumprelu": {"thresholds": torch.linspace(0.0, 1.0, M)},
}
X = torch.randn(20, D, generator=torch.Generator().manual_seed(9))


def sae(kind: str, applied: bool = True) -> SAE:
    g = torch.Generator().manual_seed(0)
    parts = [torch.randn(*shape, generator=g) for shape in ((D, M), (M,), (M, D), (D,))]
    return SAE(kind, *parts, **GIVEN[kind], apply_b_dec_to_input=applied)


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize("kind", GIVEN)
def test_saelens_files_hold_the_same_sae(kind: str, applied: bool, tmp_path: Path) -> None:
    one = sae(kind, applied)
    save_sae(one, tmp_path / "new" / "folder")
    again = load_sae(tmp_path, "new/folder")
    assert (again.kind, again.k, again.threshold) == (one.kind, one.k, one.threshold)
    assert again.apply_b_dec_to_input == applied
    assert torch.equal(again.encode(X), one.encode(X))
    assert torch.equal(again(X), one(X))


@pytest.mark.parametrize("kind", ["topk", "batch_topk", "relu_l1"])
def test_dictionary_learning_files_hold_the_same_sae(kind: str, tmp_path: Path) -> None:
    one = sae(kind)
    save_sae(one, tmp_path, "dictionary_learning")
    again = load_sae(tmp_path)
    assert (again.kind, again.k, again.threshold) == (one.kind, one.k, one.threshold)
    torch.testing.assert_close(again(X), one(X), rtol=1e-6, atol=1e-6)
    save_sae(sae(kind, applied=False), tmp_path, "dictionary_learning")
    torch.testing.assert_close(load_sae(tmp_path)(X), sae(kind, applied=False)(X), rtol=1e-5, atol=1e-5)


def test_dictionary_learning_is_written_in_its_own_names(tmp_path: Path) -> None:
    save_sae(sae("batch_topk"), tmp_path, "dictionary_learning")
    assert json.loads((tmp_path / "config.json").read_text())["trainer"] == {
        "dict_class": "BatchTopKSAE", "activation_dim": D, "dict_size": M, "k": 3
    }  # fmt: skip
    tensors = torch.load(tmp_path / "ae.pt", weights_only=True)
    shapes = {name: tuple(t.shape) for name, t in tensors.items()}
    assert shapes == {
        "encoder.weight": (M, D), "encoder.bias": (M,), "decoder.weight": (D, M), "b_dec": (D,), "k": (), "threshold": ()
    }  # fmt: skip
    with pytest.raises(DataError, match=r"^an SAE of the kind jumprelu; wanted topk, batch_topk, relu_l1: save it"):
        save_sae(sae("jumprelu"), tmp_path, "dictionary_learning")
    with pytest.raises(DataError, match=r"^the format 'onnx'; wanted one of saelens, dictionary_learning: change it$"):
        save_sae(sae("topk"), tmp_path, "onnx")


def config_of(folder: Path, **changes: Any) -> None:
    path = folder / "cfg.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def test_saelens_before_version_6_names_topk_an_activation(tmp_path: Path) -> None:
    one = sae("topk")
    save_sae(one, tmp_path)
    config_of(tmp_path, architecture="standard", k=None, activation_fn_str="topk", activation_fn_kwargs={"k": 3})
    assert torch.equal(load_sae(tmp_path).encode(X), one.encode(X))


def test_pre_activations_that_were_ranked_by_decoder_norms_still_are(tmp_path: Path) -> None:
    one = sae("topk")
    save_sae(one, tmp_path)
    config_of(tmp_path, rescale_acts_by_decoder_norm=True)
    norms = one.W_dec.norm(dim=1)
    features = one.activate(one.pre_activations(X) * norms)
    torch.testing.assert_close(load_sae(tmp_path).encode(X), features)
    torch.testing.assert_close(load_sae(tmp_path)(X), one.decode(features / norms))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architecture": "gated"}, "has the architecture gated; wanted standard, topk or jumprelu: convert it"),
        ({"normalize_activations": "layer_norm"}, "has normalize_activations=layer_norm; wanted none: fold it into"),
        (
            {"architecture": "jumprelu"},
            "holds W_dec, W_enc, b_dec, b_enc; wanted W_dec, W_enc, b_dec, b_enc, threshold",
        ),
    ],
)
def test_what_would_encode_otherwise_is_refused(changes: dict[str, str], said: str, tmp_path: Path) -> None:
    save_sae(sae("relu_l1"), tmp_path)
    config_of(tmp_path, **changes)
    with pytest.raises(DataError, match=f"^{tmp_path} {said}"):
        load_sae(tmp_path)


def test_files_that_hold_no_sae_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"^no SAE in \S+; wanted a folder of cfg.json with sae_weights.safetensors or con"
    ):
        load_sae(tmp_path)
    save_sae(sae("topk"), tmp_path)
    weights = tmp_path / "sae_weights.safetensors"
    tensors = load_file(weights)
    save_file(tensors | {"W_enc": tensors["W_enc"].T.contiguous()}, weights)
    with pytest.raises(
        DataError, match=r"of \(9, 4\), \(9,\), \(9, 4\), \(4,\); wanted .*whether a matrix is transposed$"
    ):
        load_sae(tmp_path)
    weights.write_bytes(b"nothing")
    with pytest.raises(
        DataError, match=r"^\S+ cannot be read as an SAE \(.*\); wanted tensors by name: save it again$"
    ):
        load_sae(tmp_path)
    (tmp_path / "cfg.json").unlink()
    (tmp_path / "config.json").write_text("{}")
    torch.save({"a": torch.ones(1)}, tmp_path / "ae.pt")
    with pytest.raises(
        DataError, match=r"has the dict_class None; wanted one of AutoEncoder, AutoEncoderTopK, BatchTopKS"
    ):
        load_sae(tmp_path)


class Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("was_run"),)


def test_no_code_is_run_from_a_file_of_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text('{"trainer": {"dict_class": "AutoEncoder"}}')
    torch.save({"bias": Code()}, tmp_path / "ae.pt")
    with pytest.raises(DataError, match="cannot be read as an SAE"):
        load_sae(tmp_path)
    assert not (tmp_path / "was_run").exists()
