"""The conditions of task=translate: every control, and references that involve no map."""

from bridge.controls.names import CONTROLS
from bridge.results.conditions import Condition, Conditions, Look

REFERENCES = (
    Condition(
        "own_state",
        "reference",
        "the target's own state put in without a map: is the injection alive?",
        always=True,
        look=Look("#3f7d8c", "3", (3, 9), 6),
        order=1,
    ),
    Condition(
        "native_source",
        "reference",
        "the source itself on the same items",
        always=True,
        look=Look("#aa4499", "1", (1, 1.6)),
        order=2,
        # The source's own score is not reported as a share of the target's.
        comparable=False,
    ),
    Condition(
        "native_target",
        "reference",
        "the target itself on the same items",
        always=True,
        heading="tar-\nget\nnat.",
        look=Look("#4b3fb5", "2", (3, 9), 9),
        order=3,
    ),
    Condition(
        "gold_embedding",
        "ceiling",
        "that a soft prefix can say nothing: the gold answer's own embedding in place of the mapped state",
        always=True,
        look=Look("#b8a000", "*", (5, 1.5, 1, 1.5)),
        order=3,
    ),
)
CONDITIONS: Conditions[Condition] = Conditions([*CONTROLS.values(), *REFERENCES])
