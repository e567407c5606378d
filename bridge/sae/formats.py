"""SAEs in the files of SAELens and of dictionary_learning."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from bridge.errors import DataError
from bridge.sae.base import SAE
from bridge.sae.reading import FILES, from_dictionary_learning, from_saelens, read

# The classes of dictionary_learning that hold each kind.
CLASSES = {"topk": "AutoEncoderTopK", "batch_topk": "BatchTopKSAE", "relu_l1": "AutoEncoder"}
# JumpReLU is what SAELens itself makes of a BatchTopK that is trained.
ARCHITECTURES = {"topk": "topk", "batch_topk": "jumprelu", "relu_l1": "standard", "jumprelu": "jumprelu"}


def load_sae(path: str | Path, name: str | None = None) -> SAE:
    """An SAE from a folder, in float32, that encodes as it does in the package that wrote it.

    - SAELens: cfg.json and sae_weights.safetensors, of the architectures standard, topk and jumprelu. A jumprelu whose
      features share one threshold is a batch_topk.
    - dictionary_learning: config.json and ae.pt, of the classes AutoEncoder, AutoEncoderTopK and BatchTopKSAE. Only
      tensors are read from ae.pt, no code is run.

    Args:
        path: the folder.
        name: of a folder in it, where it holds several SAEs.

    Raises:
        DataError: no SAE there, files that cannot be read, another architecture, an option of it that changes what is
            encoded and is not known here, or tensors of other shapes.
    """
    folder = Path(path).expanduser() / (name or "")
    for form, (settings, weights) in FILES.items():
        if (folder / settings).is_file() and (folder / weights).is_file():
            config, tensors = read(folder, form)
            return (from_saelens if form == "saelens" else from_dictionary_learning)(folder, config, tensors)
    wanted = " or ".join(" with ".join(names) for names in FILES.values())
    raise DataError(f"no SAE in {folder}; wanted a folder of {wanted}: correct the path, or name a folder in it")


def save_sae(sae: SAE, folder: str | Path, format: str = "saelens") -> None:
    """Write an SAE that `load_sae` and the package itself read; files that are there are replaced.

    A batch_topk becomes a jumprelu of SAELens, and keeps its k among the metadata. dictionary_learning always subtracts
    the decoder's bias from states: where the SAE does not, that is folded into the encoder's bias.

    Args:
        sae: of any kind; a jumprelu for SAELens only.
        folder: is made where it is not there.
        format: saelens or dictionary_learning.

    Raises:
        DataError: another format, or a kind that it does not have.
    """
    if format not in FILES:
        raise DataError(f"the format {format!r}; wanted one of {', '.join(FILES)}: change it")
    config, tensors = (_as_saelens if format == "saelens" else _as_dictionary_learning)(sae)
    folder = Path(folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    settings, weights = FILES[format]
    tensors = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in tensors.items()}
    if format == "saelens":
        save_file(tensors, folder / weights)
    else:
        torch.save(tensors, folder / weights)
    (folder / settings).write_text(json.dumps(config, indent=1) + "\n")


def _as_saelens(sae: SAE) -> tuple[dict[str, Any], dict[str, Tensor]]:
    tensors = {"W_enc": sae.W_enc, "b_enc": sae.b_enc, "W_dec": sae.W_dec, "b_dec": sae.b_dec}
    config = {
        "architecture": ARCHITECTURES[sae.kind],
        "d_in": sae.width,
        "d_sae": sae.n_features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": sae.apply_b_dec_to_input,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"bridge_k": sae.k} if sae.kind == "batch_topk" else {},
    }
    if sae.kind == "topk":
        config |= {"k": sae.k, "rescale_acts_by_decoder_norm": False}
    if sae.thresholds is not None:
        tensors["threshold"] = sae.thresholds
    elif sae.threshold is not None:
        tensors["threshold"] = torch.full_like(sae.b_enc, sae.threshold)
    return config, tensors


def _as_dictionary_learning(sae: SAE) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if sae.kind not in CLASSES:
        raise DataError(f"an SAE of the kind {sae.kind}; wanted {', '.join(CLASSES)}: save it in the format saelens")
    trainer = {"dict_class": CLASSES[sae.kind], "activation_dim": sae.width, "dict_size": sae.n_features}
    b_enc = sae.b_enc if sae.apply_b_dec_to_input else sae.b_enc + sae.b_dec @ sae.W_enc
    tensors = {"encoder.weight": sae.W_enc.T, "encoder.bias": b_enc, "decoder.weight": sae.W_dec.T}
    if sae.kind == "relu_l1":
        return {"trainer": trainer, "buffer": {}}, tensors | {"bias": sae.b_dec}
    if sae.k is None:
        raise DataError(
            f"an SAE of the kind {sae.kind} that does not tell its k; wanted one: set it to the mean number of features"
        )
    threshold = -1.0 if sae.threshold is None else sae.threshold
    tensors |= {"b_dec": sae.b_dec, "k": torch.tensor(sae.k, dtype=torch.int), "threshold": torch.tensor(threshold)}
    return {"trainer": trainer | {"k": sae.k}, "buffer": {}}, tensors
