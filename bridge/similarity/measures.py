"""All measures by name; what computes them is in `scorers`, so that a config can name them without torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """One measure of similarity; all are at most 1, which equal states reach.

    Attributes:
        name: in configs, records and plots.
        label: for people.
        invariant_to: maps of either side that leave it as it is.
        planted: states score 1 beside themselves, rotated and scaled, whatever they are.
        default: it is among those that are computed where none are named.
    """

    name: str
    label: str
    invariant_to: str
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
        Measure("cka_linear", "linear CKA", ISOMETRIES),
        Measure("cka_linear_debiased", "linear CKA, debiased", ISOMETRIES),
        Measure("cka_rbf", "Gaussian CKA", ISOMETRIES),
        Measure("cka_rbf_debiased", "Gaussian CKA, debiased", ISOMETRIES),
        Measure("svcca", "SVCCA", f"{ISOMETRIES}; other linear maps of the kept components"),
        Measure("pwcca", "PWCCA", PWCCA_INVARIANT_TO),
        Measure("mutual_knn", "mutual k-NN", OF_ANGLES),
        Measure("cknna", "CKNNA", OF_ANGLES),
        Measure("rsa_pearson", "RSA, Pearson", ISOMETRIES),
        Measure("rsa_spearman", "RSA, Spearman", ISOMETRIES),
        Measure("procrustes", "Procrustes", ISOMETRIES),
        Measure("rsa_cosine", "RSA, cosine", OF_ANGLES, default=False),
        Measure("rsa_correlation", "RSA, correlation", OF_FEATURES, planted=False, default=False),
        Measure("linear_predictivity", "linear R²", ISOMETRIES, planted=False, default=False),
    )
}
DEFAULT_MEASURES = tuple(name for name, measure in MEASURES.items() if measure.default)
