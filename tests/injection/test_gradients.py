"""A gradient flows from the logits back to the states, and is that of the logits that are scored."""

import pytest
import torch
from families import prompts, shared

from bridge.injection import Injection, LateLayer, LmHead, SoftPrefix

INJECTIONS = {
    "lm_head": (LmHead, 4),
    "late_layer neutral": (lambda: LateLayer(neutral_prompt="w3 w4"), 2),
    "late_layer same": (lambda: LateLayer(context="same"), 2),
    "soft_prefix": (lambda: SoftPrefix(template="w3 {state} w5"), 4),
}


@pytest.mark.parametrize("name", INJECTIONS)
def test_the_gradient_is_that_of_the_scored_logits(name: str) -> None:
    make, layer = INJECTIONS[name]
    lm = shared("llama")
    injection: Injection = make()
    injection.prepare(lm, prompts(7, 4, 9), layer)
    generator = torch.Generator().manual_seed(0)
    states, direction = torch.randn(2, 3, 32, generator=generator)
    rows = torch.arange(3)
    states.requires_grad_()
    logits = injection.logits(states, rows)
    torch.testing.assert_close(logits, injection.logits(states.detach(), rows), rtol=0.0, atol=1e-5)
    (slope,) = torch.autograd.grad(logits.square().sum(), states)
    step = 1e-2
    ahead, behind = (
        injection.logits(states.detach() + sign * step * direction, rows).double().square().sum() for sign in (1, -1)
    )
    torch.testing.assert_close(
        float((slope * direction).sum()), float((ahead - behind) / (2 * step)), rtol=0.02, atol=1e-3
    )
    assert all(p.grad is None for p in lm.model.parameters())
