"""States put into a site, against what the model computes itself."""

import pytest
import torch
from families import FAMILIES, loaded, prompts, shared
from test_sites import LAST_OF_MLP, WITHOUT_MIDDLE

from bridge.activations.extract import extract
from bridge.activations.inside import every_site
from bridge.activations.putting import changing, losses_with
from bridge.models.loss import string_losses

TEXTS = prompts(7, 3, 7, 5)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_model_with_its_own_states_put_in_loses_nothing_at_any_site(family):
    lm = shared(family)
    texts = [tuple(row) for row in lm.encode(TEXTS)]
    wanted = [list(range(len(text))) for text in texts]
    own = losses_with(lm, texts, wanted, 0, None)
    for depth in every_site(lm):
        states = extract(lm, texts, [depth], "all")[depth]
        torch.testing.assert_close(losses_with(lm, texts, wanted, depth, states), own, rtol=1e-5, atol=1e-5)
        # Another state changes the loss.
        other = losses_with(lm, texts, wanted, depth, states.flip(0))
        assert (other - own).abs().max() > 1e-3, depth


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - WITHOUT_MIDDLE))
def test_a_change_in_the_middle_reaches_the_mlp_and_the_stream(family):
    lm, plain = shared(family), loaded(family)
    ids = torch.tensor(lm.encode([TEXTS[0]]))
    shift = torch.randn(lm.anatomy.width, generator=torch.Generator().manual_seed(0))
    for name, module in plain.anatomy.blocks[1].named_modules():
        if name in LAST_OF_MLP:
            for parameter in module.parameters():
                parameter.zero_()

    def after(model, *, changed):
        states = {}

        def see(module, args, output):
            states["after"] = model.anatomy.state_of(output)

        with changing(model, 1.5, (lambda s: s + shift) if changed else (lambda s: s)):
            # Registered later, so that it sees what the change makes of the output.
            handle = model.anatomy.blocks[1].register_forward_hook(see)
            model.model(ids, use_cache=False)
            handle.remove()
        return states["after"]

    # Without an MLP the block's output moves by the shift alone, with one by more.
    torch.testing.assert_close(after(plain, changed=True), after(plain, changed=False) + shift, rtol=0, atol=1e-5)
    moved = after(lm, changed=True) - after(lm, changed=False)
    assert (moved - shift).abs().max() > 1e-3


def test_only_the_wanted_positions_are_replaced():
    lm = shared("llama")
    texts = [tuple(row) for row in lm.encode(TEXTS)]
    states = extract(lm, texts, [2], "all")[2].split([len(text) for text in texts])
    wanted = [[1, 2], [], [0], [len(texts[3]) - 1]]
    given = torch.cat([own[places] for own, places in zip(states, wanted, strict=True)])
    own = losses_with(lm, texts, wanted, 2, None)
    torch.testing.assert_close(losses_with(lm, texts, wanted, 2, given), own, rtol=1e-5, atol=1e-5)
    changed = losses_with(lm, texts, wanted, 2, given + 1.0)
    assert changed[1] == pytest.approx(float(own[1]), abs=1e-5)
    # No later token is asked for after the last.
    assert changed[3] == pytest.approx(float(own[3]), abs=1e-5)
    assert (changed - own)[[0, 2]].abs().min() > 1e-3


def test_the_loss_of_a_language_model_is_that_of_the_library():
    lm = shared("gpt2")
    ids = torch.tensor(lm.encode([TEXTS[0], TEXTS[2]]))
    truth = [float(lm.model(ids[i : i + 1], labels=ids[i : i + 1]).loss) for i in range(2)]
    assert string_losses(lm, ids).tolist() == pytest.approx(truth, rel=1e-5)
