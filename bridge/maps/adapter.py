"""A fitted map with the normalisations around it: raw source states in, raw target states out."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from bridge.errors import FitError
from bridge.maps.base import Map
from bridge.maps.loading import load_map
from bridge.maps.stored import Scalar
from bridge.normalize import Normalize
from bridge.records.whole import write_whole

TENSORS = "normalize.safetensors"


class Adapter:
    """A fitted map together with both normalisations, ready to be used or stored.

    transform(X) = target.inverse(map.transform(source.transform(X)), source.row_scale(X)).

    Args:
        source: fitted on the source's states.
        map: fitted between the normalized states.
        target: fitted on the target's states.

    Example:
        >>> import torch
        >>> from bridge.maps import Linear
        >>> X = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]])
        >>> source, target = Normalize().fit(X), Normalize().fit(X + 5)
        >>> map = Linear().fit(source.transform(X), target.transform(X + 5))
        >>> Adapter(source, map, target).transform(X)[0].round(decimals=9).tolist()
        [6.0, 5.0]
    """

    def __init__(self, source: Normalize, map: Map, target: Normalize) -> None:
        self.source = source
        self.map = map
        self.target = target

    def transform(self, X: Tensor) -> Tensor:
        """Map raw source states to raw target states.

        Args:
            X: (..., d_source) states.

        Returns:
            (..., d_target) float64, in the target's own scale and mean.

        Raises:
            FitError: values that are not finite, or another width than the fit's.
        """
        rows = X.reshape(-1, X.shape[-1]).double()
        mapped = self.target.inverse(self.map.transform(self.source.transform(rows)), self.source.row_scale(rows))
        return mapped.reshape(*X.shape[:-1], -1)

    def save(self, folder: str | Path, about: Mapping[str, Scalar] | None = None) -> None:
        """Write map.safetensors, map.json and normalize.safetensors into a folder; nothing is half-written.

        Args:
            folder: made if it does not exist.
            about: what the adapter was trained for, such as its pair and layers; `load` can check it.

        Raises:
            FitError: an `about` that JSON cannot hold.
        """
        folder = Path(folder)
        sides = {"source": self.source, "target": self.target}
        tensors = {f"{name}.{key}": t for name, side in sides.items() for key, t in side.parts().items()}
        # safetensors refuses tensors that share memory, as those of one Normalize on both sides do.
        data = save({key: t.detach().cpu().clone(memory_format=torch.contiguous_format) for key, t in tensors.items()})
        write_whole(folder / TENSORS, data)
        # The JSON file is written last, so everything it describes exists.
        self.map.save(folder, {**(about or {}), "scale": self.source.scale, "sha256": hashlib.sha256(data).hexdigest()})

    @classmethod
    def load(cls, folder: str | Path, about: Mapping[str, Scalar] | None = None) -> "Adapter":
        """Read an adapter that `save` wrote; it transforms bit for bit as the one that was saved.

        Args:
            folder: the folder given to `save`.
            about: what it must have been trained for; every key must exist and agree.

        Raises:
            FitError: no adapter in the folder, a damaged file, or an adapter that was trained for something else.
        """
        folder = Path(folder)
        map = load_map(folder, about)
        try:
            data = (folder / TENSORS).read_bytes()
            if hashlib.sha256(data).hexdigest() != map.about_.get("sha256"):
                raise FitError(
                    f"{folder / TENSORS} is not the file that was saved; wanted an undamaged one: save it again"
                )
            tensors = load(data)
        except (OSError, SafetensorError) as error:
            raise FitError(
                f"no adapter in {folder}, as {TENSORS} cannot be read ({error}); wanted a folder that Adapter.save "
                "wrote: check the path"
            ) from None
        scale = str(map.about_["scale"])
        source, target = (
            Normalize.of_parts(
                scale, {key.removeprefix(side): t.clone() for key, t in tensors.items() if key.startswith(side)}
            )
            for side in ("source.", "target.")
        )
        return cls(source, map, target)
