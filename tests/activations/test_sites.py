"""States inside blocks against blocks whose MLP adds nothing, and what a model lacks."""

import pytest
import torch
from families import FAMILIES, loaded, prompts, shared

from bridge.activations.extract import extract
from bridge.activations.inside import depths_of, every_site, has_site
from bridge.activations.sites import EMBED, site_depth, site_name
from bridge.errors import ConfigError, ModelError

TEXTS = prompts(7, 3, 7, 1, 5)
# Attention and MLP of a block read the same state, or their sum is normed in place.
WITHOUT_MIDDLE = {"gpt_neox", "phi", "cohere", "gptj", "opt_post_norm"}
LAST_OF_MLP = ("mlp.down_proj", "mlp.c_proj", "fc2", "mlp.dense_4h_to_h")


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - WITHOUT_MIDDLE))
def test_the_middle_of_a_block_is_its_output_without_its_mlp(family):
    lm = shared(family)
    got = extract(lm, TEXTS, [0.5, 2.5], position="all")
    for number in (0, 2):
        cut = loaded(family)
        for name, module in cut.anatomy.blocks[number].named_modules():
            if name in LAST_OF_MLP:
                for parameter in module.parameters():
                    parameter.zero_()
        truth = extract(cut, TEXTS, [number + 1], position="all")[number + 1]
        before = extract(lm, TEXTS, [number, number + 1], position="all")
        torch.testing.assert_close(got[number + 0.5], truth, rtol=0, atol=1e-5)
        assert (got[number + 0.5] - before[number]).abs().max() > 1e-2
        assert (got[number + 0.5] - before[number + 1]).abs().max() > 1e-2


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_model_has_the_sites_that_it_computes(family):
    lm = shared(family)
    if family == "opt_post_norm":
        # Its embeddings are narrower than its blocks.
        with pytest.raises(ModelError, match="embeddings of .* have width 16; wanted that of its blocks, 32"):
            extract(lm, TEXTS, [EMBED])
        assert every_site(lm) == [0, 1, 2, 3, 4]
        return
    inside = [] if family in WITHOUT_MIDDLE else [0.5, 1.5, 2.5, 3.5]
    assert every_site(lm) == sorted([EMBED, 0, 1, 2, 3, 4, *inside])


def test_the_embeddings_are_those_of_each_token():
    lm = shared("gpt2")
    ids = [tuple(row) for row in lm.encode(TEXTS)]
    got = extract(lm, ids, [EMBED, 0], position="all")
    flat = torch.tensor([token for row in ids for token in row])
    assert torch.equal(got[EMBED], lm.anatomy.embeddings(flat))
    # Positions are added afterwards.
    assert (got[EMBED] - got[0]).abs().max() > 1e-2


def test_names_and_depths_are_inverse():
    lm = shared("llama")
    names = [site_name(depth) for depth in every_site(lm)]
    assert len(set(names)) == 10
    assert [site_depth(name, 4, "mine") for name in names] == every_site(lm)
    assert depths_of(["resid_post_1", "resid_pre_2", "embed"], lm, lm.name) == [EMBED, 2]
    assert depths_of("resid_mid_3", lm, lm.name) == [3.5]


@pytest.mark.parametrize(
    ("family", "sites", "says"),
    [
        ("gpt_neox", ["resid_mid_0"], "has no site resid_mid_0; wanted one of embed, resid_pre_0, resid_post_0, "),
        ("llama", ["resid_post_4"], "site resid_post_4 is not in .*; wanted embed, or .* with B from 0 to 3: change"),
        ("llama", ["middle"], "site middle is not in"),
        ("llama", [], "task.sites is empty; wanted all or names"),
    ],
)
def test_a_site_that_a_model_lacks_is_refused(family, sites, says):
    with pytest.raises(ConfigError, match=says):
        depths_of(sites, shared(family), shared(family).name)


def test_a_block_without_a_middle_names_itself():
    with pytest.raises(ModelError, match=r"block 1 of .* \(GPTNeoXLayer\) has 0 states between attention and MLP"):
        extract(shared("gpt_neox"), TEXTS, [1.5])
    assert not has_site(shared("gpt_neox"), 0.5)


def test_a_depth_between_sites_is_refused():
    with pytest.raises(ConfigError, match="layer 0.3 is out of range"):
        extract(shared("llama"), TEXTS, [0.3])
