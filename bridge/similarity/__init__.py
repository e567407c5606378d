"""How alike the states of two models are, and how alike they would be if their rows were paired at random."""

from bridge.similarity.calibration import Calibrated, Null, calibrate
from bridge.similarity.canonical import canonical_correlations, pwcca, svcca
from bridge.similarity.cka import linear_cka, rbf_cka
from bridge.similarity.compare import compare
from bridge.similarity.layers import cka_matrix
from bridge.similarity.measures import DEFAULT_MEASURES, MEASURES, Measure
from bridge.similarity.neighbours import cknna, mutual_knn
from bridge.similarity.predictivity import linear_predictivity
from bridge.similarity.rsa import rsa
from bridge.similarity.scorer import Options, Scorer
from bridge.similarity.shape import angular_distance, procrustes_distance, procrustes_similarity
from bridge.similarity.states import LayerStates, clip_outliers, varies

__all__ = [
    "DEFAULT_MEASURES",
    "MEASURES",
    "Calibrated",
    "LayerStates",
    "Measure",
    "Null",
    "Options",
    "Scorer",
    "angular_distance",
    "calibrate",
    "canonical_correlations",
    "cka_matrix",
    "cknna",
    "clip_outliers",
    "compare",
    "linear_cka",
    "linear_predictivity",
    "mutual_knn",
    "procrustes_distance",
    "procrustes_similarity",
    "pwcca",
    "rbf_cka",
    "rsa",
    "svcca",
    "varies",
]
