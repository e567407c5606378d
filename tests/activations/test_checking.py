"""What names the values of tensors."""

import torch

from bridge.activations.checking import content_hash


def test_the_same_bytes_in_another_shape_or_dtype_have_another_name():
    states = torch.arange(6, dtype=torch.float32).view(2, 3)
    same = [states.clone(), states.T.contiguous().T, states.clone().requires_grad_()]
    others = [states.view(3, 2), states.view(6), states.view(torch.int32), states + 1, states.double()]
    assert {content_hash([s]) for s in same} == {content_hash([states])}
    assert len({content_hash([s]) for s in (states, *others)}) == 1 + len(others)
    # two tensors are not one of all their values
    assert content_hash(states.split(1)) != content_hash([states])
