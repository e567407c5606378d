"""A cell of task=sae: for each site the SAEs of both models, and what the source's explains in the target."""

from typing import Any

from torch import Tensor
from tqdm import tqdm

from bridge.activations.sites import site_name
from bridge.errors import ConfigError
from bridge.models.loss import has_loss
from bridge.results.points import PointScores, Result, result_of
from bridge.results.scores import Part
from bridge.rotations.axes import steps_of
from bridge.rotations.inputs import InputFeatures
from bridge.rotations.states import SiteStates, alone_error, site_states
from bridge.sae.base import SAE
from bridge.sae.crosscoder import Crosscoder, train_crosscoder
from bridge.sae.formats import load_sae
from bridge.sae.spec import SAESpec
from bridge.schema import BridgeConfig
from bridge.schema.sae import SAETaskConfig
from bridge.session import Session
from bridge.tasks.sae.kept import Wanted, ensure_saes, rows_hash, seed_of, weights_hash
from bridge.tasks.sae.site import Site, Trained
from bridge.tasks.sae.task import SAETask

# The start that SAEs of every model have in common, for the control of a shared start.
COMMON_START = 1


def compute(config: BridgeConfig, session: Session, inputs: dict[str, str]) -> Result:
    """The result of a cell of task=sae: one point for each site.

    Args:
        config: of the cell.
        session: the caches that cells share.
        inputs: fingerprints of the weights and items.

    Raises:
        BridgeError: something that a user can put right.
    """
    chosen = config.task
    assert isinstance(chosen, SAETaskConfig)
    _check(chosen)
    states = site_states(config, session, chosen.sites)
    given = _given(chosen, states)
    trained = _trained(chosen, config.seed, session, states, inputs, given)
    target = session.model(config.pair.target)
    lm = target if chosen.loss and has_loss(target) else None
    absent = {} if chosen.crosscoder else {"crosscoder": "task.crosscoder is false"}
    if given["source"] is not None:
        absent |= dict.fromkeys(("frozen", "shared_start"), "the source's SAE was given by task.source_sae")
    bar = tqdm(states.depths, desc="sites", delay=2.0, leave=False, disable=None)
    features = InputFeatures.of(states.fit)
    read = features(states.fit), features(states.held)
    sites = [Site(states, depth, trained[depth], chosen.n_draws, config.seed, lm, read) for depth in bar]
    part = Part.whole(states.held.units, chosen.n_resamples, config.seed)
    step = steps_of(config.pair)
    points = [
        PointScores(
            SAETask(), {"depth": site.depth, "step": step}, {"all": part}, config.dataset.unit.value, site.branch
        )
        for site in sites
    ]
    about = {name: [getattr(item, name) for item in states.held.items] for name in ("prompt", "relation")}
    names = [name for name in SAETask.conditions if name not in absent]
    result = result_of(points, names, [{"items": about}] * len(points))
    result.absent = absent
    least = min(points, key=lambda point: point.branch("native").mean("ev")).branch("native").mean("ev")
    result.gates = {
        "planted": _at_most(max(site.planted for site in sites), chosen.gates.planted),
        "alone": _at_most(alone_error(config, session, states), chosen.gates.alone),
        "trained": {"passed": least > chosen.gates.trained, "value": least, "threshold": chosen.gates.trained,
                    "above": True},
    }  # fmt: skip
    result.facts = {
        "models": {"source": session.path(config.pair.source), "target": session.path(config.pair.target)},
        "sites": {site_name(site.depth): _about(trained[site.depth], site) for site in sites},
        "n_rows": {"fit": len(states.fit.rows), "held": len(states.held.rows)},
        "coverage": states.coverage,
    }
    if lm is None and chosen.loss:
        result.warnings.append(f"{target.name} is {target.kind.called}, which has no loss to recover")
    return result


def _trained(
    chosen: SAETaskConfig,
    seed: int,
    session: Session,
    states: SiteStates,
    inputs: dict[str, str],
    given: dict[str, SAE | None],
) -> dict[float, Trained]:
    """The SAEs of every site; all that are missing are trained at once."""
    texts = rows_hash(states.fit.texts)
    wanted: dict[tuple[float, str], Wanted] = {}
    for depth in states.depths:
        for side, X in zip(("source", "target"), states.at(depth, states.fit), strict=True):
            about = {"model": inputs[side], "texts": texts, "depth": depth}

            def want(role: str, X: Tensor = X, about: dict[str, Any] = about, side: str = side, **more: Any) -> None:
                spec = _spec(chosen, seed_of(about["model"], role, seed), **more)
                wanted[about["depth"], f"{side} {role}"] = Wanted(X, about, spec)

            if given[side] is None:
                want("first")
            if side == "target":
                want("second")
            if given["source"] is None:
                want("shared", start_seed=COMMON_START)
                if side == "source":
                    want("frozen", frozen_decoder=True)
    saes = dict(zip(wanted, ensure_saes(list(wanted.values()), session.artefacts), strict=True))
    made = {}
    for depth in states.depths:
        source = given["source"] or saes[depth, "source first"]
        made[depth] = Trained(
            source=source,
            target=given["target"] or saes[depth, "target first"],
            second=saes[depth, "target second"],
            frozen=saes.get((depth, "source frozen")),
            shared=(saes[depth, "source shared"], saes[depth, "target shared"]) if given["source"] is None else None,
            crosscoder=_crosscoder(chosen, seed, states, depth) if chosen.crosscoder else None,
        )
    return made


def _crosscoder(chosen: SAETaskConfig, seed: int, states: SiteStates, depth: float) -> Crosscoder:
    X, Y = states.at(depth, states.fit)
    return train_crosscoder(X.float(), Y.float(), _spec(chosen, seed))


def _spec(chosen: SAETaskConfig, seed: int, **more: Any) -> SAESpec:
    return SAESpec(
        kind=chosen.kind,
        expansion=chosen.expansion,
        k=chosen.k,
        l1=chosen.l1,
        n_steps=chosen.n_steps,
        batch_size=chosen.batch_size,
        learning_rate=chosen.learning_rate,
        seed=seed,
        **more,
    )


def _given(chosen: SAETaskConfig, states: SiteStates) -> dict[str, SAE | None]:
    """The SAEs that are read from files."""
    paths = {"source": chosen.source_sae, "target": chosen.target_sae}
    if any(paths.values()) and len(states.depths) != 1:
        raise ConfigError(
            f"an SAE was given for {len(states.depths)} sites; wanted one site, as an SAE is of one: give "
            "task.sites=[resid_post_0], for example"
        )
    given: dict[str, SAE | None] = {}
    for side, path in paths.items():
        sae = None if path is None else load_sae(path, chosen.sae_name)
        width = states.at(states.depths[0], states.fit)[0].shape[1]
        if sae is not None and sae.width != width:
            raise ConfigError(
                f"task.{side}_sae={path} is an SAE of width {sae.width}; wanted {width}, that of the models: give "
                "another one"
            )
        given[side] = sae
    return given


def _about(trained: Trained, site: Site) -> dict[str, Any]:
    about: dict[str, Any] = {
        "width": trained.target.width,
        "n_features": {"source": trained.source.n_features, "target": trained.target.n_features},
        "weights": {"source": weights_hash(trained.source), "target": weights_hash(trained.target)},
        "ev_of_source_on_source": site.own_ev,
    }
    if trained.crosscoder is not None:
        about["crosscoder"] = trained.crosscoder.shares()._asdict()
    return about


def _at_most(value: float, threshold: float) -> dict[str, Any]:
    return {"passed": value <= threshold, "value": value, "threshold": threshold}


def _check(config: SAETaskConfig) -> None:
    if config.sae_name is not None and config.source_sae is None and config.target_sae is None:
        raise ConfigError(
            f"task.sae_name={config.sae_name} names a folder of no file; wanted task.source_sae or task.target_sae as "
            "well: give one or leave it out"
        )
    for name, least in (("n_draws", 2), ("n_resamples", 100)):
        if getattr(config, name) < least:
            raise ConfigError(f"task.{name}={getattr(config, name)} is too few; wanted at least {least}: raise it")
