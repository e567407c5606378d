"""Decode a mapped state as if it were the target's last residual state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from torch import Tensor

from bridge.injection.base import Injection, in_passes
from bridge.models.encoding import Text
from bridge.models.loading import LoadedModel
from bridge.models.replay import replay


class LmHead(Injection):
    """The target's final norm, once, and its head; no block is run.

    At the final layer this is what the target itself does with its last state, so its own states give its own
    logits. At an earlier layer it reads the state as a logit lens does.
    """

    def prepare(self, target: LoadedModel, prompts: Sequence[Text], layer: int) -> Self:
        """Keep the target; prompts and layer play no part."""
        self.target_ = target
        return self

    def logits(self, states: Tensor, rows: Tensor) -> Tensor:
        """See `Injection.logits`; `rows` plays no part."""
        lm = self.target_
        return in_passes(lm, states, lambda part: replay(lm.model, lm.anatomy, states[part], lm.anatomy.n_blocks))
