"""A W&B workspace by code: what is on the screen when a sweep is looked at.

Every panel shows all controls, each in its colour of all other plots; nothing shows a fitted score alone.
"""

import argparse
import itertools
import json
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bridge.errors import ConfigError
from bridge.records.manifest import Manifest, read
from bridge.records.record import write_whole
from bridge.show.looks import LOOKS
from bridge.tracking.client import end_service, error_line, wandb_module
from bridge.tracking.curves import METRICS, NEW, axis_name, tag

TITLES = {
    NEW: "top-1 on new answers (share of items)",
    "top1": "top-1 (share of items)",
    "top10": "top-10 (share of items)",
    "mrr": "mean reciprocal rank",
    "logprob_nats": "gold log-probability (nats)",
    "explained_variance": "explained variance of the target's states",
}
SIZE = "dataset.size"
MAX_RUNS = 100
# With more combinations than this, one view shows their mean.
MAX_VIEWS = 12


def build(
    project: str,
    entity: str | None = None,
    name: str | None = None,
    x: str = "layer",
    group: str | None = None,
    tags: Sequence[str] = (),
) -> Any:
    """The workspace, made without a network.

    Args:
        project: the W&B project.
        entity: the user or team.
        name: the sweep; None for all runs of the project.
        x: what the curves run along (``tracker.x``).
        group: the W&B group of the sweep; None for the sweep's name (``tracker.group``).
        tags: what curves are shown of it, such as ``injection:lm_head``; all when empty. A line is the mean of the
            runs of one control, so what should not be averaged over is named here.

    Returns:
        A ``wandb_workspaces.workspaces.Workspace``; its `save` needs a key.

    Raises:
        ConfigError: wandb-workspaces is not installed.

    Example:
        >>> [section.name for section in build("bridge", name="smoke").sections][:2]
        ['scores beside their controls', 'estimate minus control']
    """
    ws, wr = _packages()
    axis = axis_name(x)

    def lines(prefix: str, metrics: Sequence[str], along: str) -> list[Any]:
        return [
            wr.LinePlot(
                title=f"{_title(prefix, metric)} along {along}",
                x=along,
                y=[f"{prefix}{metric}"],
                title_x=along,
                groupby_aggfunc="mean",
                groupby_rangefunc="minmax",
                smoothing_factor=0,
                max_runs_to_show=MAX_RUNS,
            )
            for metric in metrics
        ]

    sections = [
        ws.Section(name="scores beside their controls", panels=lines("", list(TITLES), axis), is_open=True),
        ws.Section(name="estimate minus control", panels=lines("lead/", (NEW, *METRICS), axis), is_open=True),
        ws.Section(
            name="heat map",
            panels=[
                wr.MediaBrowser(title="controls by cell", media_keys=["heat_map"], num_columns=1),
                wr.WeavePanelSummaryTable(table_name="cells"),
            ],
            is_open=True,
        ),
        ws.Section(name="sizes", panels=_sizes(wr) if x != SIZE else lines("", METRICS, axis), is_open=x == SIZE),
        ws.Section(name="runs side by side", panels=[wr.RunComparer(diff_only="split")], is_open=False),
        ws.Section(name="validity", panels=lines("", ["valid"], axis), is_open=False),
    ]
    return ws.Workspace(
        entity=entity or "",
        project=project,
        name=", ".join([f"bridge: {name or 'all sweeps'}", *(word.replace(":", " ") for word in tags)]),
        sections=sections,
        settings=ws.WorkspaceSettings(x_axis=axis, smoothing_type="none", max_runs=MAX_RUNS),
        runset_settings=ws.RunsetSettings(
            filters=_filter(ws, group or name, tags) if name else [],
            groupby=[ws.Metric("JobType")],
            group_colors={control: look.color for control, look in LOOKS.items()},
        ),
    )


def _filter(ws: Any, group: str | None, tags: Sequence[str]) -> Any:
    """The sweep's runs that have all tags, and the sweep's summary."""
    of_sweep = ws.Metric("Group") == group
    if not tags:
        return ws.And(of_sweep)
    chosen = ws.And(*(ws.Tags().isin([word]) for word in tags))
    return ws.And(of_sweep, ws.Or(ws.Metric("JobType") == "summary", chosen))


def _views(manifest: Manifest | None, x: str) -> list[tuple[str, ...]]:
    """Tags of each view of a sweep: one for each combination of what is neither x nor control nor seed."""
    axes = {} if manifest is None else manifest.axes
    joined = ("control", "control.names", "seed", x)
    ours = {k: v for k, v in axes.items() if len(v) > 1 and k not in joined and k.split(".")[0] != x}
    views = list(itertools.product(*([tag(f"{key}={v}") for v in vs] for key, vs in ours.items())))
    return views if len(views) <= MAX_VIEWS else [()]


def spec(workspace: Any) -> dict[str, Any]:
    """What W&B would store of a workspace, having read it back into one."""
    model = workspace._to_model()
    plain: dict[str, Any] = json.loads(model.spec.model_dump_json(by_alias=True, exclude_none=True))
    type(model.spec).model_validate(plain)
    return plain


def dashboard(outputs: str | Path, name: str | None, project: str | None, entity: str | None) -> str:
    """Save the workspace of a sweep, or write it to disk where there is no key.

    Returns:
        A line for each view: where it is now.

    Raises:
        ConfigError: there is no such sweep, a package is missing, or W&B did not take it.
    """
    manifest = None if name is None else read(outputs, name)
    tracker = _tracker(manifest)
    project, entity = project or tracker["project"], entity or tracker["entity"]
    wandb = wandb_module()
    folder = Path(outputs) if manifest is None else manifest.folder
    views = _views(manifest, tracker["x"])
    return "\n".join(
        _save(wandb, build(project, entity, name, tracker["x"], tracker["group"], v), folder, v) for v in views
    )


def _save(wandb: Any, workspace: Any, folder: Path, tags: Sequence[str]) -> str:
    """Write one view to disk, and save it where there is a key."""
    path = folder / f"{'-'.join(['dashboard', *(re.sub('[^A-Za-z0-9_.]', '_', word) for word in tags)])}.json"
    write_whole(path, (json.dumps(spec(workspace), indent=1) + "\n").encode())
    try:
        if not wandb.login(prompt=False, verify=False):
            return f"no W&B key: the workspace is in {path}; after wandb login the same command saves it at W&B"
        workspace.entity = workspace.entity or wandb.Api().default_entity
        workspace.save()
    # wandb raises what its requests raise.
    except Exception as error:
        end_service()
        raise ConfigError(
            f"W&B did not take the workspace ({error_line(error)}); it is in {path}, and the same command tries again"
        ) from error
    return f"workspace saved: {workspace.url}"


def _sizes(wr: Any) -> list[Any]:
    """Every curve's mean score by data set size, for curves that run along something else."""
    return [
        wr.ScatterPlot(title=f"{TITLES[m]}, mean of the curve", x=wr.Config(SIZE), y=wr.SummaryMetric(f"mean/{m}"))
        for m in METRICS
    ]


def _title(prefix: str, metric: str) -> str:
    title = TITLES.get(metric, metric)
    return f"fitted − control, {title}" if prefix else title


def _tracker(manifest: Manifest | None) -> dict[str, Any]:
    from bridge.schema.tracker import WandbConfig

    default = {"project": WandbConfig.project, "entity": WandbConfig.entity, "x": WandbConfig.x, "group": None}
    return default | (manifest.settings.get("tracker", {}) if manifest else {})


def _packages() -> tuple[Any, Any]:
    try:
        # How it declares its own models is deprecated in pydantic, which is nobody's concern here.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            import wandb_workspaces.reports.v2 as wr
            import wandb_workspaces.workspaces as ws
    except ImportError as error:
        raise ConfigError("bridge dashboard needs wandb-workspaces; pip install 'bridge-llm[wandb]'") from error
    return ws, wr


def dashboard_verb(arguments: Sequence[str]) -> int:
    """``bridge dashboard [NAME]``."""
    parser = argparse.ArgumentParser(
        prog="bridge dashboard", description="Build a W&B workspace that shows scores beside their controls."
    )
    parser.add_argument("name", nargs="?", help="a sweep; without it, all runs of the project")
    parser.add_argument("--outputs", default="outputs", help="the outputs folder (default: outputs)")
    parser.add_argument("--project", help="the W&B project (default: that of the sweep's tracker)")
    parser.add_argument("--entity", help="the W&B user or team (default: that of the sweep's tracker, or the key's)")
    chosen = parser.parse_args(list(arguments))
    os.environ.setdefault("WANDB_SILENT", "true")
    print(dashboard(chosen.outputs, chosen.name, chosen.project, chosen.entity))
    return 0
