"""SAEs of SAELens' own package load here with equal activations, and ours there: `make test-saelens`.

Not collected with the other tests, since SAELens brings a hundred packages along; the extra `saelens` installs it.
"""

from pathlib import Path

import pytest
import sae_lens
import torch
from sae_lens import (
    BatchTopKTrainingSAE,
    BatchTopKTrainingSAEConfig,
    JumpReLUSAE,
    JumpReLUSAEConfig,
    StandardSAE,
    StandardSAEConfig,
    TopKSAE,
    TopKSAEConfig,
)
from torch import Tensor

from bridge.sae.base import SAE
from bridge.sae.formats import load_sae, save_sae

D, M, K = 16, 64, 5


def states(seed: int = 0) -> Tensor:
    return torch.randn(200, D, generator=torch.Generator().manual_seed(seed)) * 3 + 1


def theirs(kind: str, applied: bool) -> "sae_lens.SAE":
    shape = {"d_in": D, "d_sae": M, "apply_b_dec_to_input": applied}
    if kind == "standard":
        sae = StandardSAE(StandardSAEConfig(**shape))
    elif kind == "topk":
        sae = TopKSAE(TopKSAEConfig(k=K, **shape))
    elif kind == "topk_rescaled":
        sae = TopKSAE(TopKSAEConfig(k=K, rescale_acts_by_decoder_norm=True, **shape))
    else:
        sae = JumpReLUSAE(JumpReLUSAEConfig(**shape))
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, p in sae.named_parameters():
            p.copy_(torch.rand(p.shape, generator=g) if name == "threshold" else torch.randn(p.shape, generator=g))
    return sae


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize("kind", ["standard", "topk", "topk_rescaled", "jumprelu"])
def test_what_saelens_writes_encodes_alike_here(kind: str, applied: bool, tmp_path: Path) -> None:
    sae = theirs(kind, applied)
    sae.save_model(tmp_path)
    ours, X = load_sae(tmp_path), states()
    with torch.no_grad():
        features = sae.encode(X)
        torch.testing.assert_close(ours.encode(X), features, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(ours(X), sae(X), rtol=1e-5, atol=1e-4)
    assert (features > 0).any()


def test_a_batch_topk_that_saelens_trained_encodes_alike_here(tmp_path: Path) -> None:
    config = BatchTopKTrainingSAEConfig(d_in=D, d_sae=M, k=K, apply_b_dec_to_input=True)
    training = BatchTopKTrainingSAE(config)
    training.topk_threshold = torch.tensor(0.7, dtype=training.topk_threshold.dtype)
    training.save_inference_model(tmp_path)
    ours, X = load_sae(tmp_path), states()
    assert ours.kind == "batch_topk"
    assert ours.threshold == pytest.approx(0.7)
    with torch.no_grad():
        torch.testing.assert_close(
            ours.encode(X), sae_lens.SAE.load_from_disk(tmp_path).encode(X), rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize("kind", ["relu_l1", "topk", "batch_topk", "jumprelu"])
def test_what_is_written_here_encodes_alike_in_saelens(kind: str, applied: bool, tmp_path: Path) -> None:
    g = torch.Generator().manual_seed(2)
    parts = [torch.randn(*shape, generator=g) for shape in [(D, M), (M,), (M, D), (D,)]]
    more = {"topk": {"k": K}, "batch_topk": {"threshold": 0.5}, "jumprelu": {"thresholds": torch.rand(M, generator=g)}}
    sae = SAE(kind, *parts, apply_b_dec_to_input=applied, **more.get(kind, {}))
    save_sae(sae, tmp_path)
    loaded, X = sae_lens.SAE.load_from_disk(tmp_path), states()
    with torch.no_grad():
        torch.testing.assert_close(loaded.encode(X), sae.encode(X), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(loaded(X), sae(X), rtol=1e-5, atol=1e-4)
