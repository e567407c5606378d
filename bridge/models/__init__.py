"""Models: loading them, finding their parts by structure, and running them from the middle."""

from bridge.models.anatomy import Anatomy, anatomy
from bridge.models.embedding import embed
from bridge.models.encoding import Text, encode
from bridge.models.kinds import KINDS, Kind
from bridge.models.loading import LoadedModel, fingerprint, load, load_tokenizer
from bridge.models.replay import context_cache, replay

__all__ = [
    "KINDS",
    "Anatomy",
    "Kind",
    "LoadedModel",
    "Text",
    "anatomy",
    "context_cache",
    "embed",
    "encode",
    "fingerprint",
    "load",
    "load_tokenizer",
    "replay",
]
