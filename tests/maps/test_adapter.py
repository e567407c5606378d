"""What was fitted can be stored with its normalisations, and is refused where it does not belong."""

import pytest
import torch

from bridge.errors import FitError
from bridge.maps.adapter import Adapter
from bridge.maps.base import Map
from bridge.maps.lora import LoRA
from bridge.maps.mlp import MLP
from bridge.maps.orthogonal import Orthogonal
from bridge.normalize import Normalize

GENERATOR = torch.Generator().manual_seed(0)
X, Y = torch.randn(40, 6, generator=GENERATOR) + 3, torch.randn(40, 5, generator=GENERATOR) - 2
ABOUT = {"source": "a", "target": "b", "source_layer": 3}


def adapter(map: Map, scale: str = "none") -> Adapter:
    source, target = Normalize(scale=scale).fit(X), Normalize(scale=scale).fit(Y)  # type: ignore[arg-type]
    return Adapter(source, map.fit(source.transform(X), target.transform(Y)), target)


@pytest.mark.parametrize("scale", ["none", "l2", "frobenius", "whiten"])
@pytest.mark.parametrize("map", [Orthogonal(), LoRA(rank=2), MLP(width=4, n_steps=5)], ids=lambda m: type(m).__name__)
def test_a_stored_adapter_transforms_bit_for_bit_as_before(tmp_path, map, scale):
    made = adapter(map, scale)
    made.save(tmp_path, ABOUT)
    again = Adapter.load(tmp_path, ABOUT)
    assert torch.equal(again.transform(X), made.transform(X))
    assert made.transform(X.reshape(8, 5, 6)).shape == (8, 5, 5)
    assert {p.name for p in tmp_path.iterdir()} == {"map.json", "map.safetensors", "normalize.safetensors"}


def test_an_adapter_between_two_layers_of_one_model_is_stored_with_its_one_normalisation(tmp_path):
    side = Normalize(scale="whiten").fit(X)
    made = Adapter(side, Orthogonal().fit(side.transform(X), side.transform(X)), side)
    made.save(tmp_path)
    assert torch.equal(Adapter.load(tmp_path).transform(X), made.transform(X))


def test_an_adapter_trained_for_another_pair_is_refused_in_one_line(tmp_path):
    adapter(Orthogonal()).save(tmp_path, ABOUT)
    with pytest.raises(FitError, match=r"was fitted for target=b, got target=c; wanted the same") as caught:
        Adapter.load(tmp_path, {**ABOUT, "target": "c"})
    assert "\n" not in str(caught.value)
    with pytest.raises(FitError, match="was fitted for no position, got position=mean"):
        Adapter.load(tmp_path, {"position": "mean"})


def test_a_damaged_or_missing_part_is_refused_in_one_line(tmp_path):
    adapter(Orthogonal()).save(tmp_path, ABOUT)
    file = tmp_path / "normalize.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(FitError, match="normalize.safetensors is not the file that was saved; wanted an undamaged one"):
        Adapter.load(tmp_path)
    file.unlink()
    with pytest.raises(FitError, match=r"normalize.safetensors cannot be read .* wanted a folder that Adapter.save"):
        Adapter.load(tmp_path)
    with pytest.raises(FitError, match="no map in"):
        Adapter.load(tmp_path / "nothing")


@pytest.mark.parametrize("scale", ["none", "l2", "frobenius", "whiten"])
def test_an_adapter_gives_every_row_its_own_size_back(tmp_path, scale):
    """Between a space and itself nothing is left to fit, so that states come back as they are."""
    source, target = Normalize(scale=scale).fit(X), Normalize(scale=scale).fit(X)
    made = Adapter(source, Orthogonal().fit(source.transform(X), target.transform(X)), target)
    rows = torch.randn(10, 6, generator=torch.Generator().manual_seed(1)) * torch.logspace(-1, 1, 10).unsqueeze(1)
    made.save(tmp_path, ABOUT)
    for one in (made, Adapter.load(tmp_path, ABOUT)):
        torch.testing.assert_close(one.transform(rows), rows.double(), rtol=0.0, atol=1e-9)


def test_source_and_target_are_not_exchanged_when_stored(tmp_path):
    made = adapter(Orthogonal(), "l2")
    made.save(tmp_path, ABOUT)
    again = Adapter.load(tmp_path, ABOUT)
    assert torch.equal(again.source.mean_, made.source.mean_)
    assert torch.equal(again.target.mean_, made.target.mean_)
    assert again.target.scale_ == made.target.scale_ != made.source.scale_
    assert (again.source.scale, again.target.scale) == ("l2", "l2")
