"""W&B workspaces, built by code: the panels of a sweep.

Every panel shows all conditions, each in its colour of all other plots; nothing shows an estimate alone.
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
from bridge.records.manifest import Manifest, names, read
from bridge.records.record import write_whole
from bridge.tasks.base import Task
from bridge.tasks.registry import get
from bridge.tracking.client import end_service, error_line, wandb_module
from bridge.tracking.curves import axis_name, compared, headline, leading, shown, tag
from bridge.tracking.plan import axis_of

SIZE = "dataset.size"
MAX_RUNS = 100
# With more combinations than this there is one view, which shows their mean.
MAX_VIEWS = 12


def build(
    task: Task,
    project: str,
    entity: str | None = None,
    name: str | None = None,
    x: str | None = None,
    group: str | None = None,
    tags: Sequence[str] = (),
) -> Any:
    """Build the workspace; needs no network.

    Args:
        task: whose metrics and conditions are shown.
        project: the W&B project.
        entity: the user or team.
        name: the sweep; None for all runs of the project.
        x: what the curves run along (``tracker.x``); None for the task's own choice.
        group: the W&B group of the sweep; None for the sweep's name (``tracker.group``).
        tags: what curves are shown of it, such as ``injection:lm_head``; all when empty. A line is the mean of the runs
            of one condition, so name here what should not be averaged over.

    Returns:
        A ``wandb_workspaces.workspaces.Workspace``; its `save` needs a key.

    Raises:
        ConfigError: wandb-workspaces is not installed.

    Example:
        >>> [section.name for section in build(get("translate"), "bridge", name="smoke").sections][:2]
        ['scores beside their controls', 'estimate minus control']
    """
    ws, wr = _packages()
    x = _along(task, x)
    axis = axis_name(x)
    first = headline(task)
    scores = shown(task) if first is None else (first, *shown(task))

    def lines(prefix: str, metrics: Sequence[str], along: str) -> list[Any]:
        return [
            wr.LinePlot(
                title=f"{_title(task, prefix, metric)} along {along}",
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
        ws.Section(name="scores beside their controls", panels=lines("", scores, axis), is_open=True),
        ws.Section(name="estimate minus control", panels=lines("lead/", leading(task), axis), is_open=True),
        ws.Section(
            name="heat map",
            panels=[
                wr.MediaBrowser(title="controls by cell", media_keys=["heat_map"], num_columns=1),
                wr.WeavePanelSummaryTable(table_name="cells"),
            ],
            is_open=True,
        ),
        *(
            [_sizes(ws, wr, task, lines("", compared(task), axis) if x == SIZE else None)]
            if "dataset" in task.uses
            else []
        ),
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
            group_colors={condition: task.conditions.look(condition).color for condition in task.conditions},
        ),
    )


def _filter(ws: Any, group: str | None, tags: Sequence[str]) -> Any:
    """The sweep's runs that have all tags, and the sweep's summary."""
    of_sweep = ws.Metric("Group") == group
    if not tags:
        return ws.And(of_sweep)
    chosen = ws.And(*(ws.Tags().isin([word]) for word in tags))
    return ws.And(of_sweep, ws.Or(ws.Metric("JobType") == "summary", chosen))


def _views(manifest: Manifest | None, task: Task, x: str | None) -> list[tuple[str, ...]]:
    """The tags of each view of a sweep: one view for each combination of the axes other than x, control and seed."""
    axes = {} if manifest is None else manifest.axes
    axis, name = axis_of(task, x), _along(task, x)
    joined = ("task", "control", "control.names", "seed", name, *(() if axis is None else axis.keys))
    ours = {k: v for k, v in axes.items() if len(v) > 1 and k not in joined and k.split(".")[0] != name}
    views = list(itertools.product(*([tag(f"{key}={v}") for v in vs] for key, vs in ours.items())))
    return views if len(views) <= MAX_VIEWS else [()]


def spec(workspace: Any) -> dict[str, Any]:
    """The specification of a workspace that W&B would store, checked by reading it back."""
    model = workspace._to_model()
    plain: dict[str, Any] = json.loads(model.spec.model_dump_json(by_alias=True, exclude_none=True))
    type(model.spec).model_validate(plain)
    return plain


def dashboard(outputs: str | Path, name: str | None, project: str | None, entity: str | None) -> str:
    """Save the workspaces of a sweep, or write them to disk where there is no key.

    Returns:
        A line for each task of the sweep (without a name, of all sweeps in `outputs`) and view: where it is now.

    Raises:
        ConfigError: there is no such sweep, a package is missing, or W&B refused it.
    """
    manifest = None if name is None else read(outputs, name)
    tracker = _tracker(manifest)
    project, entity = project or tracker["project"], entity or tracker["entity"]
    wandb = wandb_module()
    folder = Path(outputs) if manifest is None else manifest.folder
    tasks = _tasks(outputs, manifest)
    lines = []
    for task in tasks:
        own = [task.name] if len(tasks) > 1 else []
        for view in _views(manifest, task, tracker["x"]):
            workspace = build(task, project, entity, name, tracker["x"], tracker["group"], view)
            workspace.name = ", ".join([workspace.name, *own])
            lines.append(_save(wandb, workspace, folder, [*own, *view]))
    return "\n".join(lines)


def _tasks(outputs: str | Path, manifest: Manifest | None) -> list[Task]:
    """The tasks of one sweep or, where there is none, of all in `outputs`, or that of the plain command."""
    manifests = [read(outputs, name) for name in names(outputs)] if manifest is None else [manifest]
    every = {cell.changes.get("task.name", one.base["task"]["name"]) for one in manifests for cell in one.cells}
    if not every:
        from bridge.config import compose_config

        every = {compose_config().task.name}
    return [get(name) for name in sorted(every)]


def _save(wandb: Any, workspace: Any, folder: Path, words: Sequence[str]) -> str:
    """Write one view to disk, and save it where there is a key."""
    path = folder / f"{'-'.join(['dashboard', *(re.sub('[^A-Za-z0-9_.]', '_', word) for word in words)])}.json"
    write_whole(path, (json.dumps(spec(workspace), indent=1) + "\n").encode())
    try:
        if not wandb.login(prompt=False, verify=False):
            return f"no W&B key: the workspace is in {path}; after wandb login the same command saves it at W&B"
        workspace.entity = workspace.entity or wandb.Api().default_entity
        workspace.save()
    # wandb raises the errors of its HTTP requests.
    except Exception as error:
        end_service()
        raise ConfigError(
            f"W&B did not take the workspace ({error_line(error)}); wanted it saved there, and kept it in {path}: "
            "run the same command again"
        ) from error
    return f"workspace saved: {workspace.url}"


def _sizes(ws: Any, wr: Any, task: Task, lines: list[Any] | None) -> Any:
    """Scores by data set size: `lines` where curves run along it, else every curve's mean score."""
    if lines is not None:
        return ws.Section(name="sizes", panels=lines, is_open=True)
    panels = [
        wr.ScatterPlot(
            title=f"{task.by_name[m].title}, mean of the curve", x=wr.Config(SIZE), y=wr.SummaryMetric(f"mean/{m}")
        )
        for m in compared(task)
    ]
    return ws.Section(name="sizes", panels=panels, is_open=False)


def _along(task: Task, x: str | None) -> str:
    """The axis of a task's curves; W&B's own step if the task has no axes."""
    axis = axis_of(task, x)
    return (x or "_step") if axis is None else axis.name


def _title(task: Task, prefix: str, metric: str) -> str:
    """The title of a metric, of its lead, or of the head metric on the first part of the items."""
    if metric == headline(task):
        head, part = task.head, task.part_names[0]
        word, unit = (head.word, head.title.removeprefix(head.word)) if head.title.startswith(head.word) else (
            head.title, "")  # fmt: skip
        title = f"{word} on {part} {task.noun}{unit}"
    else:
        title = task.by_name[metric].title if metric in task.by_name else metric
    return f"{task.conditions.estimate} − control, {title}" if prefix else title


def _tracker(manifest: Manifest | None) -> dict[str, Any]:
    from bridge.schema.tracker import WandbConfig

    default = {"project": WandbConfig.project, "entity": WandbConfig.entity, "x": None, "group": None}
    return default | (manifest.settings.get("tracker", {}) if manifest else {})


def _packages() -> tuple[Any, Any]:
    try:
        # wandb-workspaces declares its models in a way that pydantic deprecates; the warning does not help users.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            import wandb_workspaces.reports.v2 as wr
            import wandb_workspaces.workspaces as ws
    except ImportError as error:
        raise ConfigError(
            "wandb-workspaces, which bridge dashboard needs, is not installed; wanted it: run pip install "
            "'bridge-llm[wandb]'"
        ) from error
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
