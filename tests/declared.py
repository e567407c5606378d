"""What task=translate declares, by the names that tests use."""

from bridge.tasks.registry import get

TASK = get("translate")
KINDS = TASK.conditions
METRICS = TASK.by_name
NEGATIVES = KINDS.negatives
BASELINES = KINDS.baselines
REFERENCES = KINDS.always
