"""What is fitted from the source's states to the target's."""

from dataclasses import dataclass, field
from enum import Enum

from omegaconf import II, MISSING

from bridge.schema.training import TrainingConfig


class Completion(Enum):
    """What an orthogonal map does outside the span of its fit rows."""

    nearest = "nearest"
    none = "none"


class Select(Enum):
    """How a penalty is chosen: as given, or on the fit rows alone."""

    fixed = "fixed"
    loo = "loo"
    split = "split"


@dataclass
class MapConfig:
    """What is fitted from the source's states to the target's."""

    _target_: str = MISSING
    name: str = MISSING
    training: TrainingConfig = field(default_factory=TrainingConfig)


@dataclass
class OrthogonalConfig(MapConfig):
    """Orthogonal Procrustes."""

    _target_: str = "bridge.maps.orthogonal.Orthogonal"
    name: str = "orthogonal"
    completion: Completion = Completion.nearest
    scale: bool = False
    special: bool = False


@dataclass
class SemiOrthogonalConfig(MapConfig):
    """Least squares under R'R = I where the source is wider."""

    _target_: str = "bridge.maps.semi_orthogonal.SemiOrthogonal"
    name: str = "semi_orthogonal"
    n_steps: int = 500
    tolerance: float = 1e-6


@dataclass
class PCAOrthogonalConfig(MapConfig):
    """A rotation between the leading principal subspaces."""

    _target_: str = "bridge.maps.pca_orthogonal.PCAOrthogonal"
    name: str = "pca_orthogonal"
    n_components: int = 32


@dataclass
class LinearConfig(MapConfig):
    """Least squares of minimum norm."""

    _target_: str = "bridge.maps.linear.Linear"
    name: str = "linear"


@dataclass
class RidgeConfig(MapConfig):
    """Least squares with a penalty."""

    _target_: str = "bridge.maps.ridge.Ridge"
    name: str = "ridge"
    penalty: float = 0.01
    select: Select = Select.fixed
    seed: int = II("seed")


@dataclass
class AffineConfig(MapConfig):
    """Least squares of minimum norm with an intercept."""

    _target_: str = "bridge.maps.affine.Affine"
    name: str = "affine"


@dataclass
class ReducedRankConfig(MapConfig):
    """Least squares under a bound on the rank."""

    _target_: str = "bridge.maps.reduced_rank.ReducedRank"
    name: str = "reduced_rank"
    rank: int = 8
    penalty: float = 0.0


@dataclass
class LoRAConfig(MapConfig):
    """The state itself plus an update of low rank."""

    _target_: str = "bridge.maps.lora.LoRA"
    name: str = "lora"
    rank: int = 8
    alpha: float = 16.0
    penalty: float = 0.01


@dataclass
class CCAConfig(MapConfig):
    """Prediction through canonical correlations."""

    _target_: str = "bridge.maps.cca.CCA"
    name: str = "cca"
    n_components: int | None = 32
    penalty: float = 0.01


@dataclass
class RelativeConfig(MapConfig):
    """Similarities to anchors in the source, turned back into states of the target."""

    _target_: str = "bridge.maps.relative.Relative"
    name: str = "relative"
    n_anchors: int = 64
    seed: int = II("seed")
    tolerance: float = 0.05


@dataclass
class MLPConfig(MapConfig):
    """A small network beside a linear path, fitted by gradient descent on the states."""

    _target_: str = "bridge.maps.mlp.MLP"
    name: str = "mlp"
    depth: int = 1
    width: int = 256
    penalty: float = 1.0
    n_steps: int = 200
    lr: float = 1e-3
    batch_size: int = 128
    weight_decay: float = 1.0
    inner_fraction: float = 0.15
    check_every: int = 10
    patience: int = 5
    seed: int = II("seed")
