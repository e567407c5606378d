"""The small transformer that reads Dyck-3 strings: 104,448 parameters, three heads.

Blocks have attention and an MLP after an RMSNorm each; nothing has a bias or a gain. The residual stream begins as an
embedding of the token plus a projection of six fixed features of its position. Heads read the normed last state and say
what is known after each token: the bracket that closes the innermost open one, the depth, and whether all is valid.

Source: arXiv:2605.24577. The six features are ours, as the paper names none: sines and cosines of three wavelengths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
import transformers
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import ModelOutput

from bridge.data.dyck import BOS, CONTEXT, EOS, MAX_DEPTH, NO_LABEL, PAD

WAVELENGTHS = (4.0, 16.0, 64.0)
HEADS = ("bracket", "depth", "validity")


class DyckConfig(transformers.PretrainedConfig):  # type: ignore[misc]
    """The shape of a model; the defaults are the paper's."""

    model_type = "dyck"

    def __init__(
        self,
        vocab_size: int = 40,
        hidden_size: int = 64,
        num_hidden_layers: int = 2,
        num_attention_heads: int = 4,
        intermediate_size: int = 256,
        max_position_embeddings: int = CONTEXT,
        initializer_range: float = 0.06,
        **more: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.intermediate_size = intermediate_size
        self.max_position_embeddings = max_position_embeddings
        self.initializer_range = initializer_range
        tokens = {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS, "tie_word_embeddings": False}
        super().__init__(**tokens | more)


class Norm(nn.Module):
    """Division of each state by its root mean square; no gain."""

    def forward(self, states: Tensor) -> Tensor:
        """States (..., d) -> (..., d)."""
        return F.rms_norm(states, states.shape[-1:], eps=1e-6)


class Attention(nn.Module):
    """Causal attention without biases."""

    def __init__(self, config: DyckConfig) -> None:
        super().__init__()
        d = config.hidden_size
        self.n_heads = config.num_attention_heads
        self.query, self.key, self.value, self.output = (nn.Linear(d, d, bias=False) for _ in range(4))

    def forward(self, states: Tensor) -> Tensor:
        """States (b, t, d) -> (b, t, d)."""
        b, t, d = states.shape
        q, k, v = (
            part(states).view(b, t, self.n_heads, -1).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        scores = q @ k.transpose(-1, -2) * (d // self.n_heads) ** -0.5
        later = torch.ones(t, t, dtype=torch.bool, device=states.device).triu(1)
        mixed = scores.masked_fill(later, -torch.inf).softmax(-1) @ v
        return self.output(mixed.transpose(1, 2).reshape(b, t, d))


class MLP(nn.Module):
    """One hidden layer of rectified units."""

    def __init__(self, config: DyckConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, states: Tensor) -> Tensor:
        """States (..., d) -> (..., d)."""
        return self.down(self.up(states).relu())


class DyckBlock(GradientCheckpointingLayer):  # type: ignore[misc]
    """Attention, then an MLP, each added to the residual stream."""

    def __init__(self, config: DyckConfig) -> None:
        super().__init__()
        self.attention_norm, self.mlp_norm = Norm(), Norm()
        self.attention, self.mlp = Attention(config), MLP(config)

    def forward(self, hidden_states: Tensor, **_: Any) -> Tensor:
        """States (b, t, d) -> (b, t, d)."""
        middle = hidden_states + self.attention(self.attention_norm(hidden_states))
        return middle + self.mlp(self.mlp_norm(middle))


@dataclass
class DyckOutput(ModelOutput):  # type: ignore[misc]
    """What the model says of each token.

    transformers asks for a default of each field; all are always given.

    Attributes:
        last_hidden_state: (b, t, d) normed.
        bracket: logits (b, t, vocabulary).
        depth: logits (b, t, 9).
        validity: the logit (b, t) of being valid.
    """

    last_hidden_state: Tensor = None  # type: ignore[assignment]
    bracket: Tensor = None  # type: ignore[assignment]
    depth: Tensor = None  # type: ignore[assignment]
    validity: Tensor = None  # type: ignore[assignment]


class DyckModel(transformers.PreTrainedModel):  # type: ignore[misc]
    """The model with its three heads."""

    config_class = DyckConfig
    # The embeddings and heads, which the models of a shared cohort have in common.
    shared = ("embed_tokens.weight", "embed_positions.weight", "bracket.weight", "depth.weight", "validity.weight")
    base_model_prefix = "model"
    supports_gradient_checkpointing = False

    def __init__(self, config: DyckConfig) -> None:
        super().__init__(config)
        d = config.hidden_size
        self.embed_tokens = nn.Embedding(config.vocab_size, d)
        self.embed_positions = nn.Linear(2 * len(WAVELENGTHS), d, bias=False)
        self.layers = nn.ModuleList(DyckBlock(config) for _ in range(config.num_hidden_layers))
        self.norm = Norm()
        self.bracket = nn.Linear(d, config.vocab_size, bias=False)
        self.depth = nn.Linear(d, MAX_DEPTH + 1, bias=False)
        self.validity = nn.Linear(d, 1, bias=False)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.initializer_range)

    def get_input_embeddings(self) -> nn.Module:
        """The embedding of tokens."""
        return self.embed_tokens

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> DyckOutput:
        """Read token ids (b, t), padded on the right: no token sees a later one, so that padding needs no mask."""
        states = self.embed_tokens(input_ids) + self.embed_positions(features(input_ids.shape[1], self.device))
        for block in self.layers:
            states = block(states)
        normed = self.norm(states)
        return DyckOutput(normed, self.bracket(normed), self.depth(normed), self.validity(normed).squeeze(-1))


def features(t: int, device: torch.device | None = None) -> Tensor:
    """The six fixed features (t, 6) of positions 0 to t - 1."""
    turns = torch.arange(t, device=device)[:, None] / torch.tensor(WAVELENGTHS, device=device) * (2 * torch.pi)
    return torch.cat([turns.sin(), turns.cos()], dim=1)


def losses(output: DyckOutput, bracket: Tensor, depth: Tensor, validity: Tensor) -> Tensor:
    """Mean cross-entropy (3,) of each head over the tokens that have its label.

    Args:
        output: of the model.
        bracket: labels (b, t), as in `bridge.data.dyck.Labels`; so are the others.
    """
    there = (validity != NO_LABEL).float()
    binary = F.binary_cross_entropy_with_logits(output.validity, validity.clamp_min(0).float(), reduction="none")
    return torch.stack(
        [
            _cross_entropy(output.bracket, bracket),
            _cross_entropy(output.depth, depth),
            (binary * there).sum() / there.sum().clamp_min(1),
        ]
    )


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    there = labels != NO_LABEL
    own = logits.log_softmax(-1).gather(-1, labels.clamp_min(0)[..., None])[..., 0]
    return -(own * there).sum() / there.sum().clamp_min(1)


def accuracies(output: DyckOutput, bracket: Tensor, depth: Tensor, validity: Tensor) -> dict[str, float]:
    """The share of labelled tokens that each head gets right."""
    said = {
        "bracket": output.bracket.argmax(-1),
        "depth": output.depth.argmax(-1),
        "validity": (output.validity > 0).long(),
    }
    labels = {"bracket": bracket, "depth": depth, "validity": validity}
    right = {}
    for head in HEADS:
        there = labels[head] != NO_LABEL
        right[head] = float((said[head] == labels[head])[there].float().mean())
    return right


transformers.AutoConfig.register(DyckConfig.model_type, DyckConfig)
transformers.AutoModel.register(DyckConfig, DyckModel)
