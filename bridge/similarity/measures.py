"""All measures by name."""

from dataclasses import dataclass

from bridge.similarity.canonical import Pwcca, Svcca
from bridge.similarity.cka import LinearCka, RbfCka
from bridge.similarity.neighbours import Cknna, MutualKnn
from bridge.similarity.rsa import RsaPearson, RsaSpearman
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
    """

    name: str
    label: str
    invariant_to: str
    scorer: type[Scorer]


ISOMETRIES = "rotation, reflection, shift, isotropic scale"
# Whose weights add up features one by one, so that a rotation of that side changes them.
PWCCA_INVARIANT_TO = "shift, isotropic scale; every invertible map of the side that gives no weights; not rotation"
MEASURES: dict[str, Measure] = {
    m.name: m
    for m in (
        Measure("cka_linear", "linear CKA", ISOMETRIES, LinearCka),
        Measure("cka_linear_debiased", "linear CKA, debiased", ISOMETRIES, LinearCka),
        Measure("cka_rbf", "Gaussian CKA", ISOMETRIES, RbfCka),
        Measure("cka_rbf_debiased", "Gaussian CKA, debiased", ISOMETRIES, RbfCka),
        Measure("svcca", "SVCCA", f"{ISOMETRIES}; other linear maps of the kept components", Svcca),
        Measure("pwcca", "PWCCA", PWCCA_INVARIANT_TO, Pwcca),
        Measure("mutual_knn", "mutual k-NN", "rotation, reflection, isotropic scale; not shift", MutualKnn),
        Measure("cknna", "CKNNA", "rotation, reflection, isotropic scale; not shift", Cknna),
        Measure("rsa_pearson", "RSA, Pearson", ISOMETRIES, RsaPearson),
        Measure("rsa_spearman", "RSA, Spearman", ISOMETRIES, RsaSpearman),
        Measure("procrustes", "Procrustes", ISOMETRIES, Procrustes),
    )
}
