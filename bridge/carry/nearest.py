"""A nearest-neighbour baseline: a table of known answers, without any map."""

import torch
from torch import Tensor

# Odd numbers of neighbours, so that two answers seldom tie.
NEIGHBOURS = (1, 3, 5, 9)


class NearestAnswers:
    """Names the answer of a state by the nearest fit rows of the source, and gives the target's mean state of it.

    Nearness is the cosine of normalised states. The number of neighbours is the one whose vote names most answers of
    the fit rows themselves, each looked up among the rows of other groups; ties go to fewer neighbours.

    Source: Cover and Hart (1967), "Nearest neighbor pattern classification", doi:10.1109/TIT.1967.1053964.

    Args:
        Z: (n, d_source) normalised source states of the fit rows.
        Y: (n, d_target) target states of the same rows, in the target's own scale.
        answers: (n,) integer answer of each row.
        groups: (n,) integer group of each row: what fit and eval never share.

    Attributes:
        k_: number of neighbours.

    Example:
        >>> Z = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
        >>> Y = torch.tensor([[2.0], [4.0], [7.0]])
        >>> NearestAnswers(Z, Y, torch.tensor([0, 0, 1]), torch.arange(3)).states(torch.tensor([[3.0, 0.1]])).tolist()
        [[3.0]]
    """

    def __init__(self, Z: Tensor, Y: Tensor, answers: Tensor, groups: Tensor) -> None:
        answers, groups = answers.to(Z.device), groups.to(Z.device)
        self._Z, self._answers = _directions(Z), answers
        names, index = answers.unique(return_inverse=True)
        sums = Y.new_zeros(len(names), Y.shape[1]).index_add_(0, index, Y)
        self._names, self._means = names, sums / torch.bincount(index)[:, None]
        near = (self._Z @ self._Z.T).masked_fill_(groups[:, None] == groups, -torch.inf)
        ranked = near.topk(min(max(NEIGHBOURS), len(Z)), dim=1)
        hits = {}
        for k in (k for k in NEIGHBOURS if k <= len(Z)):
            voters = torch.where(ranked.values[:, :k].isfinite(), answers[ranked.indices[:, :k]], -1)
            hits[k] = int((_vote(voters) == answers).sum())
        self.k_ = max(hits, key=lambda k: (hits[k], -k))

    def answers(self, Z: Tensor) -> Tensor:
        """The answer (m,) that the table names for normalised source states Z (m, d_source)."""
        nearest = (_directions(Z) @ self._Z.T).topk(self.k_, dim=1).indices
        return _vote(self._answers[nearest])

    def states(self, Z: Tensor) -> Tensor:
        """The target's mean state (m, d_target) of the answers named for Z (m, d_source)."""
        return self._means[torch.searchsorted(self._names, self.answers(Z))]


def _directions(Z: Tensor) -> Tensor:
    return torch.nn.functional.normalize(Z, dim=1)


def _vote(voters: Tensor) -> Tensor:
    """The commonest of each row's answers (m, k), the nearest among the commonest; -1 has no vote."""
    k = voters.shape[1]
    votes = (voters[:, :, None] == voters[:, None, :]).sum(2).double()
    votes = votes - torch.arange(k, device=voters.device) / (k + 1.0)
    votes = votes.masked_fill(voters < 0, -1.0)
    return voters.gather(1, votes.argmax(1, keepdim=True))[:, 0]
