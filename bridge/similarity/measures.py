"""All measures by name."""

from dataclasses import dataclass

from bridge.similarity.canonical import Pwcca, Svcca
from bridge.similarity.cka import LinearCka, RbfCka
from bridge.similarity.neighbours import Cknna, MutualKnn
from bridge.similarity.predictivity import LinearPredictivity
from bridge.similarity.rsa import RsaCorrelation, RsaCosine, RsaPearson, RsaSpearman
from bridge.similarity.scorer import Scorer
from bridge.similarity.shape import Procrustes


@dataclass(frozen=True)
class Measure:
    """One measure of similarity; all are at most 1, which equal states reach.

    Attributes:
        name: in configs, records and plots.
        label: for people.
        invariant_to: maps of either side that leave it as it is.
        scorer: what computes it.
        planted: states score 1 beside themselves, rotated and scaled, whatever they are.
        default: it is among those that are computed where none are named.
    """

    name: str
    label: str
    invariant_to: str
    scorer: type[Scorer]
    planted: bool = True
    default: bool = True


ISOMETRIES = "rotation, reflection, shift, isotropic scale"
OF_ANGLES = "rotation, reflection, isotropic scale; not shift"
OF_FEATURES = "isotropic scale; not rotation, not shift"
# Its weights sum over the features of one side, so that a rotation of that side changes them.
PWCCA_INVARIANT_TO = "shift, isotropic scale; invertible maps of the side of larger rank; not rotation of the other"
MEASURES: dict[str, Measure] = {
    m.name: m
    for m in (
        Measure("cka_linear", "linear CKA", ISOMETRIES, LinearCka),
        Measure("cka_linear_debiased", "linear CKA, debiased", ISOMETRIES, LinearCka),
        Measure("cka_rbf", "Gaussian CKA", ISOMETRIES, RbfCka),
        Measure("cka_rbf_debiased", "Gaussian CKA, debiased", ISOMETRIES, RbfCka),
        Measure("svcca", "SVCCA", f"{ISOMETRIES}; other linear maps of the kept components", Svcca),
        Measure("pwcca", "PWCCA", PWCCA_INVARIANT_TO, Pwcca),
        Measure("mutual_knn", "mutual k-NN", OF_ANGLES, MutualKnn),
        Measure("cknna", "CKNNA", OF_ANGLES, Cknna),
        Measure("rsa_pearson", "RSA, Pearson", ISOMETRIES, RsaPearson),
        Measure("rsa_spearman", "RSA, Spearman", ISOMETRIES, RsaSpearman),
        Measure("procrustes", "Procrustes", ISOMETRIES, Procrustes),
        Measure("rsa_cosine", "RSA, cosine", OF_ANGLES, RsaCosine, default=False),
        Measure("rsa_correlation", "RSA, correlation", OF_FEATURES, RsaCorrelation, planted=False, default=False),
        Measure("linear_predictivity", "linear R²", ISOMETRIES, LinearPredictivity, planted=False, default=False),
    )
}
DEFAULT_MEASURES = tuple(name for name, measure in MEASURES.items() if measure.default)
