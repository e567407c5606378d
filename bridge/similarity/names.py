"""The names of all measures, and what leaves each as it is. Importing this loads no torch."""

from dataclasses import dataclass

ISOMETRIES = "rotation, reflection, shift, isotropic scale"
OF_ANGLES = "rotation, reflection, isotropic scale; not shift"
OF_FEATURES = "isotropic scale; not rotation, not shift"
# Its weights sum over the features of one side, so that a rotation of that side changes them.
PWCCA_INVARIANT_TO = "shift, isotropic scale; invertible maps of the side of larger rank; not rotation of the other"


@dataclass(frozen=True)
class Named:
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


NAMES: dict[str, Named] = {
    n.name: n
    for n in (
        Named("cka_linear", "linear CKA", ISOMETRIES),
        Named("cka_linear_debiased", "linear CKA, debiased", ISOMETRIES),
        Named("cka_rbf", "Gaussian CKA", ISOMETRIES),
        Named("cka_rbf_debiased", "Gaussian CKA, debiased", ISOMETRIES),
        Named("svcca", "SVCCA", f"{ISOMETRIES}; other linear maps of the kept components"),
        Named("pwcca", "PWCCA", PWCCA_INVARIANT_TO),
        Named("mutual_knn", "mutual k-NN", OF_ANGLES),
        Named("cknna", "CKNNA", OF_ANGLES),
        Named("rsa_pearson", "RSA, Pearson", ISOMETRIES),
        Named("rsa_spearman", "RSA, Spearman", ISOMETRIES),
        Named("procrustes", "Procrustes", ISOMETRIES),
        Named("rsa_cosine", "RSA, cosine", OF_ANGLES, default=False),
        Named("rsa_correlation", "RSA, correlation", OF_FEATURES, planted=False, default=False),
        Named("linear_predictivity", "linear R²", ISOMETRIES, planted=False, default=False),
    )
}
DEFAULT_MEASURES = tuple(name for name, named in NAMES.items() if named.default)
