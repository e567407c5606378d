"""One folder for each task: what a cell of it computes."""

from collections.abc import Callable
from typing import Any

from bridge.schema import BridgeConfig, TaskConfig
from bridge.session import Session
from bridge.tasks.similarity import cell as similarity
from bridge.tasks.translate import cell as translate

# config, session, inputs -> what goes into record.json, and the columns of items.parquet (None where a task has no
# scores by item)
Compute = Callable[[BridgeConfig, Session, dict[str, str]], tuple[dict[str, Any], dict[str, Any] | None]]
_COMPUTE: dict[str, Compute] = {"translate": translate.compute, "similarity": similarity.compute}


def compute(task: TaskConfig) -> Compute:
    """The function that computes cells of a task."""
    return _COMPUTE[task.name]
