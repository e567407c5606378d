"""A dry run: the cells of a sweep, the states that it would extract with their size, and the jobs it would submit."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from bridge.activations.entries import missing, readable
from bridge.config import from_plain
from bridge.records.manifest import Cell, Manifest
from bridge.schema import BridgeConfig, ModelConfig
from bridge.session import Session
from bridge.sweep.layers import model_shape
from bridge.sweep.order import shares
from bridge.sweep.status import states
from bridge.tasks.registry import get

CELLS_SHOWN = 24
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Extraction:
    """States that are not stored yet.

    Attributes:
        model: its name.
        position: last, mean, last:K or aligned.
        layers: the number of missing layers, and of all layers that are read.
        n_rows: states at each layer; an upper bound where it is not known.
        n_bytes: in all.
        bound: the reason why the number is an upper bound; empty if it is exact.
        texts: identifies the texts; data sets that differ only in their split share their states.
        weights: the fingerprint of the model, as several models may have one name.
    """

    model: str
    position: str
    layers: tuple[int, int]
    n_rows: int
    n_bytes: int
    bound: str
    texts: tuple[object, ...]
    weights: str


def print_dry_run(manifest: Manifest, run_ids: Sequence[str], params: dict[str, Any] | None, launcher: str) -> None:
    """Print what running the cells of `run_ids` would do.

    Args:
        manifest: of the sweep.
        run_ids: the cells that would run.
        params: the node `hydra.launcher` of a packed launcher, else None.
        launcher: its name.
    """
    cell_states = states(manifest)
    wanted = set(run_ids)
    for state in cell_states[:CELLS_SHOWN]:
        summary = "to run again" if state.name == "done" and state.cell.run_id in wanted else state.name
        print(f"  {summary:8s} {manifest.label(state.cell)}")
    if len(cell_states) > CELLS_SHOWN:
        print(f"  ... and {len(cell_states) - CELLS_SHOWN} more")
    counts = Counter(state.name for state in cell_states)
    summary = ", ".join(f"{n} {name}" for name, n in counts.items())
    print(f"{manifest.name}: {len(cell_states)} cells ({summary}); {len(wanted)} to run")
    for axis, values in manifest.axes.items():
        shown = ", ".join(value.replace("'", "") for value in values)
        print(f"  {axis}: {shown if len(shown) < 90 else f'{shown[:90]}...'} ({len(values)})")
    _print_extractions(extractions(manifest, [manifest.by_run_id[r] for r in run_ids]))
    _print_jobs(manifest, run_ids, params, launcher)
    print("dry run: nothing was extracted, trained or submitted")


def _print_extractions(wanted: Sequence[Extraction]) -> None:
    if not wanted:
        print("states: all there")
        return
    print(f"states to extract, once for all cells: {readable(sum(e.n_bytes for e in wanted))}")
    for e in wanted:
        at_most = f"at most, for {e.bound}: " if e.bound else ""
        print(
            f"  {e.model}, position {e.position}: {at_most}{e.n_rows} states at {e.layers[0]} of {e.layers[1]} layers, "
            f"{readable(e.n_bytes)}"
        )


def _print_jobs(manifest: Manifest, run_ids: Sequence[str], params: dict[str, Any] | None, launcher: str) -> None:
    if not run_ids:
        print("jobs: none")
    elif params is None:
        print(f"jobs: {'one process' if launcher == 'basic' else f'{len(run_ids)}, one for each cell'} ({launcher})")
    else:
        from bridge.sweep.launcher import n_jobs

        n = n_jobs(run_ids, manifest, params)
        sizes = [len(share) for share in shares(manifest, run_ids, n)]
        each = f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
        gpu = ", each with one GPU" if params["gpus"] else ""
        print(f"jobs: {n} on {params['cluster']}{gpu}, {each} cells to begin with, {params['timeout_min']} min at most")


def extractions(manifest: Manifest, cells: Sequence[Cell]) -> list[Extraction]:
    """The states that `cells` need and the store does not have yet."""
    settings = manifest.settings
    session = Session(settings["paths"]["outputs"], settings["device"], settings["batch_size"])
    seen: dict[tuple[str, ...], Extraction] = {}
    for cell in cells:
        config = from_plain(manifest.config(cell))
        for need in get(config.task.name).needs(config).states:
            model: ModelConfig = getattr(config.pair, need.side)
            layer = "" if need.layer is None else str(need.layer)
            key = (str(config.pair), str(replace(config.dataset, size=None)), need.side, need.position, layer)
            if key not in seen:
                seen[key] = _extraction(session, config, model, need.position)
    apart = dict.fromkeys((layers, extraction) for (*_, layers), extraction in seen.items())
    return [extraction for _, extraction in apart if extraction.layers[0]]


def _extraction(session: Session, config: BridgeConfig, model: ModelConfig, position: str) -> Extraction:
    """The missing states of one model, without loading a model or a tokenizer."""
    n_blocks, width = model_shape(model)
    state_bytes = width * BYTES.get(model.dtype.value, 4)
    k = int(position.partition(":")[2] or 1)
    trained = session.is_there(config.pair.source) and session.is_there(config.pair.target)
    if trained:
        session.locate(config.pair)
    noted = session.noted_contexts(config) if trained else None
    if noted is None:
        bound = "no cell has read these prompts yet" if trained else "the model has yet to be trained"
        prompts = tuple(item.prompt for item in session.items(config.dataset))
        n_rows, n = len(prompts) * k, n_blocks + 1
        return Extraction(model.name, position, (n, n), n_rows, n_rows * n * state_bytes, bound, prompts, str(model))
    texts = tuple(noted[0 if model is config.pair.source else 1])
    weights = session.fingerprint(model)
    if position == "aligned":
        n_rows = sum(min(map(len, contexts)) for contexts in zip(*noted, strict=True))
        bound = "not every token has a partner"
        layers = (1, n_blocks + 1)
        return Extraction(model.name, position, layers, n_rows, n_rows * state_bytes, bound, texts, weights)
    folder, dtype, attention = session.outputs / "activations", model.dtype.value, model.attn_implementation
    gone = missing(folder, weights, texts, range(n_blocks + 1), position, dtype, attention)
    n_rows = len(texts) * k
    n_bytes = n_rows * len(gone) * state_bytes
    return Extraction(model.name, position, (len(gone), n_blocks + 1), n_rows, n_bytes, "", texts, weights)
