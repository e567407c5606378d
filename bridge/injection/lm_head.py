"""Decode a mapped state as if it were the target's last residual state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from bridge.injection.base import ROWS_PER_PASS, Injection, empty_logits
from bridge.models.loading import LoadedModel
from bridge.models.replay import replay


class LmHead(Injection):
    """The target's final norm, once, and its head; no block is run.

    At the final layer this is what the target itself does with its last state, so its own states give its own
    logits. At an earlier layer it reads the state as a logit lens does.
    """

    def prepare(self, target: LoadedModel, prompts: Sequence[str], layer: int) -> Self:
        """Keep the target; prompts and layer play no part."""
        self.target_ = target
        return self

    @torch.inference_mode()
    def _fill(self, result: Tensor, states: Tensor) -> None:
        lm = self.target_
        for start in range(0, len(states), ROWS_PER_PASS):
            part = slice(start, start + ROWS_PER_PASS)
            result[part] = replay(lm.model, lm.anatomy, states[part], lm.anatomy.n_blocks)

    def logits(self, states: Tensor, rows: Tensor) -> Tensor:
        """See `Injection.logits`; `rows` plays no part."""
        result = empty_logits(self.target_, len(states))
        self._fill(result, states)
        return result
