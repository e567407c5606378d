"""Items with one gold answer each: where they come from, which can be used, and how they are split."""

from bridge.data.facts import Relation, held_out_template, relations
from bridge.data.hub import HuggingFace
from bridge.data.pairing import aligned_contexts, aligned_positions
from bridge.data.questions import question_word
from bridge.data.repeats import repeated_facts
from bridge.data.rosetta import Item, RosettaSet, describe_coverage, fingerprint, rosetta_set
from bridge.data.sources import Attributes, Facts, JsonFile, Relations, Source, Squad
from bridge.data.splitting import Split, labels, numbered, split

__all__ = [
    "Attributes",
    "Facts",
    "HuggingFace",
    "Item",
    "JsonFile",
    "Relation",
    "Relations",
    "RosettaSet",
    "Source",
    "Split",
    "Squad",
    "aligned_contexts",
    "aligned_positions",
    "describe_coverage",
    "fingerprint",
    "held_out_template",
    "labels",
    "numbered",
    "question_word",
    "relations",
    "repeated_facts",
    "rosetta_set",
    "split",
]
