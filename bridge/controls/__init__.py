"""Controls: what a fitted map is held against, and the states that each gives."""

from bridge.controls.bag_of_words import BagOfWords
from bridge.controls.carrier import Carrier, Trainer
from bridge.controls.draws import haar_rotated, haar_rows, within
from bridge.controls.lookup import Lookup
from bridge.controls.names import BASELINES, CONTROLS, KINDS, NEGATIVES, REFERENCES, Control
from bridge.controls.rows import Rows

__all__ = [
    "BASELINES",
    "CONTROLS",
    "KINDS",
    "NEGATIVES",
    "REFERENCES",
    "BagOfWords",
    "Carrier",
    "Control",
    "Lookup",
    "Rows",
    "Trainer",
    "haar_rotated",
    "haar_rows",
    "permutations",
    "within",
]
