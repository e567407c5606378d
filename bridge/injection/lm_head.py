"""The logit lens: decode a mapped state with the target's final norm and head.

Source: nostalgebraist (2020), "interpreting GPT: the logit lens", LessWrong; Belrose et al. (2023), "Eliciting latent
predictions from transformers with the tuned lens", arXiv:2303.08112, for what it misses at early layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from torch import Tensor

from bridge.injection.base import Injection, in_passes
from bridge.models.encoding import Text
from bridge.models.loading import LoadedModel
from bridge.models.replay import replay


class LmHead(Injection):
    """The target's final norm, applied once, and its head. No block is run.

    At the final layer the target decodes its own last state in this way, so its own states give its own logits. At an
    earlier layer this is the logit lens.
    """

    def prepare(self, target: LoadedModel, prompts: Sequence[Text], layer: int) -> Self:
        """Keep the target; prompts and layer are not used."""
        self.target_ = target
        return self

    def logits(self, states: Tensor, rows: Tensor) -> Tensor:
        """See `Injection.logits`; `rows` is not used."""
        lm = self.target_
        return in_passes(lm, states, lambda part: replay(lm.model, lm.anatomy, states[part], lm.anatomy.n_blocks))
