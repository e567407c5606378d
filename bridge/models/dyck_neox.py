"""A GPT-NeoX that reads Dyck-3 strings: the other architecture of `pair=dyck3`, with the paper's three heads.

It has what the paper's model (`bridge.models.dyck`) has not: rotary positions, biases, LayerNorms with gains, and
attention and MLP in parallel. Everything but the heads is the GPT-NeoX of transformers.
"""

from __future__ import annotations

from typing import Any

import transformers
from torch import Tensor, nn

from bridge.data.dyck import MAX_DEPTH
from bridge.models.dyck import DyckOutput


class DyckNeoXConfig(transformers.GPTNeoXConfig):  # type: ignore[misc]
    """The shape of a GPT-NeoX, under a name of its own."""

    model_type = "dyck_gpt_neox"


class DyckNeoXModel(transformers.GPTNeoXPreTrainedModel):  # type: ignore[misc]
    """A GPT-NeoX without its own head, and the three heads of a reader of Dyck-3 strings."""

    config_class = DyckNeoXConfig
    shared = ("gpt_neox.embed_in.weight", "bracket.weight", "depth.weight", "validity.weight")

    def __init__(self, config: DyckNeoXConfig) -> None:
        super().__init__(config)
        self.gpt_neox = transformers.GPTNeoXModel(config)
        self.bracket = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.depth = nn.Linear(config.hidden_size, MAX_DEPTH + 1, bias=False)
        self.validity = nn.Linear(config.hidden_size, 1, bias=False)
        self.post_init()

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> DyckOutput:
        """Read token ids (b, t), padded on the right: no token sees a later one, so that padding needs no mask."""
        normed = self.gpt_neox(input_ids, use_cache=False).last_hidden_state
        return DyckOutput(normed, self.bracket(normed), self.depth(normed), self.validity(normed).squeeze(-1))


transformers.AutoConfig.register(DyckNeoXConfig.model_type, DyckNeoXConfig)
transformers.AutoModel.register(DyckNeoXConfig, DyckNeoXModel)
