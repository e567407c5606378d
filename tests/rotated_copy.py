"""A copy of a saved Dyck-3 model that computes the same function in another basis of its residual stream."""

from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

# What reads the residual stream; the other weights write to it.
READ = ("query", "key", "value", "up", "bracket", "depth", "validity")


def write_rotated_copy(model: Path, to: Path, R: Tensor) -> Path:
    """Write a copy of a model whose residual stream is that of the model times R, up to rounding.

    A norm without a gain commutes with R, so that every reading weight W (out, d) becomes W R, every writing one
    (d, in) becomes R' W, and the embeddings (V, d), whose rows are states, become E R.

    Args:
        model: a folder that holds a `bridge.models.dyck.DyckModel`.
        to: the folder to write.
        R: (d, d) float64 orthogonal.
    """
    to.mkdir(parents=True)
    for path in model.iterdir():
        if path.suffix == ".json" and path.name != "artefact.json":
            (to / path.name).write_bytes(path.read_bytes())
    weights: dict[str, Tensor] = {}
    for name, W in load_file(model / "model.safetensors").items():
        part = name.split(".")[-2]
        reads = part == "embed_tokens" or part in READ
        turned = W.double() @ R if reads else R.T @ W.double()
        weights[name] = turned.to(W.dtype).contiguous()
    save_file(weights, to / "model.safetensors", {"format": "pt"})
    return to
