"""Kinds of models: how each is loaded and read, and which parts it must have."""

from dataclasses import dataclass, field
from typing import Any

from bridge.errors import ConfigError


@dataclass(frozen=True)
class Kind:
    """A kind of models.

    Attributes:
        name: in `pair.source.kind`.
        called: its name in messages, with an article.
        loader: the class of transformers that loads it.
        has_head: it must have an output head, whose logits are over tokens.
        ends_texts: whether an end-of-text token that the tokenizer adds is kept; a model that continues a text must not
            read one.
        module: of bridge, which makes the class known to transformers; empty where transformers has it.
        unused: prefixes of the names of weights that may be missing, since nothing reads them.
        options: keyword arguments of a forward pass.
    """

    name: str
    called: str
    loader: str
    has_head: bool
    ends_texts: bool = False
    module: str = ""
    unused: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("causal", "a causal language model", "AutoModelForCausalLM", has_head=True, options={"use_cache": False}),
        # Pooling is over the states of tokens, not through the pooler that some encoders were trained with.
        Kind("embedder", "an embedder", "AutoModel", has_head=False, ends_texts=True, unused=("pooler.",)),
        Kind(
            "dyck",
            "a reader of Dyck-3 strings",
            "AutoModel",
            has_head=False,
            ends_texts=True,
            # And with it bridge.models.dyck.
            module="bridge.models.dyck_neox",
        ),
    )
}


def kind_of(name: str) -> Kind:
    """The kind of a name.

    Raises:
        ConfigError: no kind has this name.
    """
    if name not in KINDS:
        raise ConfigError(f"kind={name!r} is no kind of models; wanted one of {', '.join(KINDS)}: change it")
    return KINDS[name]
