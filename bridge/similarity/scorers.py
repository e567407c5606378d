"""The class that computes each measure."""

from bridge.similarity.canonical import Pwcca, Svcca
from bridge.similarity.cka import LinearCka, RbfCka
from bridge.similarity.neighbours import Cknna, MutualKnn
from bridge.similarity.predictivity import LinearPredictivity
from bridge.similarity.rsa import RsaCorrelation, RsaCosine, RsaPearson, RsaSpearman
from bridge.similarity.scorer import Scorer
from bridge.similarity.shape import Procrustes

SCORERS: dict[str, type[Scorer]] = {
    "cka_linear": LinearCka,
    "cka_linear_debiased": LinearCka,
    "cka_rbf": RbfCka,
    "cka_rbf_debiased": RbfCka,
    "svcca": Svcca,
    "pwcca": Pwcca,
    "mutual_knn": MutualKnn,
    "cknna": Cknna,
    "rsa_pearson": RsaPearson,
    "rsa_spearman": RsaSpearman,
    "procrustes": Procrustes,
    "rsa_cosine": RsaCosine,
    "rsa_correlation": RsaCorrelation,
    "linear_predictivity": LinearPredictivity,
}
