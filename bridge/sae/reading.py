"""From the files of other packages to an SAE."""

import json
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from bridge.errors import DataError
from bridge.sae.base import SAE

# For each format the file of settings and that of weights.
FILES = {"saelens": ("cfg.json", "sae_weights.safetensors"), "dictionary_learning": ("config.json", "ae.pt")}
Tensors = dict[str, Tensor]
# Options of SAELens that change what is encoded, with the values that leave it as it is.
PLAIN = {
    "normalize_activations": (None, "none"),
    "reshape_activations": (None, "none"),
    "finetuning_scaling_factor": (None, False),
}
BASE = {"W_enc", "b_enc", "W_dec", "b_dec"}


def read(folder: Path, form: str) -> tuple[dict[str, Any], Tensors]:
    """The settings and the tensors, in float32, of a folder.

    Raises:
        DataError: a file that cannot be read.
    """
    settings, weights = (folder / name for name in FILES[form])
    try:
        config = json.loads(settings.read_text())
        tensors = (
            load_file(weights) if form == "saelens" else torch.load(weights, map_location="cpu", weights_only=True)
        )
        tensors = {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
    except (OSError, ValueError, AttributeError, RuntimeError, EOFError, pickle.PickleError, SafetensorError) as error:
        said = " ".join(str(error).split())[:200]
        raise DataError(f"{folder} cannot be read as an SAE ({said}); wanted tensors by name: save it again") from error
    if not isinstance(config, dict):
        raise DataError(f"{settings} holds a {type(config).__name__}; wanted settings by name: save the SAE again")
    return config, tensors


def from_saelens(folder: Path, config: dict[str, Any], tensors: Tensors) -> SAE:
    """The SAE of a folder of SAELens, of its version 6 or before."""
    for option, plain in PLAIN.items():
        if config.get(option) not in plain:
            raise DataError(
                f"{folder} has {option}={config[option]}; wanted none: fold it into the weights with SAELens first"
            )
    kind = config.get("architecture", "standard")
    # Before version 6 TopK was an activation of the standard architecture.
    k = config.get("k", (config.get("activation_fn_kwargs") or {}).get("k"))
    kind = "topk" if config.get("activation_fn_str", config.get("activation_fn")) == "topk" else kind
    if kind not in ("standard", "topk", "jumprelu"):
        raise DataError(f"{folder} has the architecture {kind}; wanted standard, topk or jumprelu: convert it")
    _check(folder, tensors, BASE | ({"threshold"} if kind == "jumprelu" else set()))
    W_enc, b_enc, W_dec, b_dec = (tensors[name] for name in ("W_enc", "b_enc", "W_dec", "b_dec"))
    if kind == "topk" and config.get("rescale_acts_by_decoder_norm"):
        # The same SAE with a decoder of norm 1.
        norms = W_dec.norm(dim=-1)
        W_enc, b_enc, W_dec = W_enc * norms, b_enc * norms, W_dec / norms[:, None]
    applied = bool(config.get("apply_b_dec_to_input", True))
    if kind == "jumprelu":
        thresholds = tensors["threshold"]
        if thresholds.unique().numel() > 1:
            return SAE("jumprelu", W_enc, b_enc, W_dec, b_dec, thresholds=thresholds, apply_b_dec_to_input=applied)
        k = (config.get("metadata") or {}).get("bridge_k")
        threshold = float(thresholds.flatten()[0])
        return SAE("batch_topk", W_enc, b_enc, W_dec, b_dec, k, threshold, apply_b_dec_to_input=applied)
    kinds = {"standard": "relu_l1", "topk": "topk"}
    k = k if kind == "topk" else None
    return SAE(kinds[kind], W_enc, b_enc, W_dec, b_dec, k, apply_b_dec_to_input=applied)


def from_dictionary_learning(folder: Path, config: dict[str, Any], tensors: Tensors) -> SAE:
    """The SAE of a folder of dictionary_learning."""
    trainer = config.get("trainer")
    kind = trainer.get("dict_class") if isinstance(trainer, dict) else None
    kinds = {"AutoEncoder": "relu_l1", "AutoEncoderTopK": "topk", "BatchTopKSAE": "batch_topk"}
    if kind not in kinds:
        raise DataError(f"{folder} has the dict_class {kind}; wanted one of {', '.join(kinds)}: convert it")
    bias = "bias" if kind == "AutoEncoder" else "b_dec"
    named = {"AutoEncoder": set(), "AutoEncoderTopK": {"k"}, "BatchTopKSAE": {"k", "threshold"}}[kind]
    needed = {"encoder.weight", "encoder.bias", "decoder.weight", bias} | named
    # A TopK may bring a threshold along, which it does not encode with.
    _check(folder, tensors, needed, frozenset({"threshold"}))
    return SAE(
        kinds[kind],
        tensors["encoder.weight"].mT.contiguous(),
        tensors["encoder.bias"],
        tensors["decoder.weight"].mT.contiguous(),
        tensors[bias],
        k=int(tensors["k"]) if "k" in named else None,
        threshold=float(tensors["threshold"]) if "threshold" in named else None,
    )


def _check(folder: Path, tensors: Tensors, needed: set[str], allowed: frozenset[str] = frozenset()) -> None:
    if not needed <= tensors.keys() <= needed | allowed:
        got = ", ".join(sorted(tensors))
        raise DataError(f"{folder} holds {got or 'no tensor'}; wanted {', '.join(sorted(needed))}: save the SAE again")
