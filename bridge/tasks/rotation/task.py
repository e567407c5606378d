"""The declaration of task=rotation."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bridge.results.conditions import Condition, Conditions, Look
from bridge.results.metrics import Metric
from bridge.rotations.axes import SITE, STEP
from bridge.schema.rotation import RotationConfig
from bridge.tasks.base import Needs, Section, Task

if TYPE_CHECKING:
    from rich.console import Console

    from bridge.records.record import Record
    from bridge.results.comparison import Comparison
    from bridge.results.points import Result
    from bridge.schema import BridgeConfig
    from bridge.session import Session

# Where the bands of principal components lie, from that of the largest variance.
BANDS = ("first eighth", "second eighth", "second quarter", "second half")


class Rotation(Task):
    """One rotation for each site, fitted on some strings and scored on others; and what it looks like."""

    name = "rotation"
    question = "Do two models compute the same states up to a rotation, and does that rotation look like a random one?"
    config = RotationConfig
    uses = ("pair", "dataset")
    metrics = (
        Metric("ev", "explained variance of the target's states", "explained variance", high=1.0, heads=True,
               panel=True, tabled=True),
        *(
            Metric(f"ev_band{i + 1}", f"explained variance, {band} of principal components", f"EV, {band}",
                   high=1.0, items=None, tabled=True)
            for i, band in enumerate(BANDS)
        ),
        Metric("distance", "||R - I||_F", "||R - I||", low=0.0, items=None, tabled=True),
        Metric("to_signed_permutation", "distance to the nearest signed permutation", "to a permutation",
               low=0.0, items=None, tabled=True),
    )  # fmt: skip
    conditions = Conditions(
        [
            Condition("rotated", "estimate", "the rotation that was fitted on matched rows", heading="ro-\ntated",
                      what="the fitted rotation", look=Look("#d55e00", "o", width=2.8)),
            Condition("random", "negative", "that any rotation would do: Haar draws", True, heading="ran-\ndom",
                      look=Look("#8c8c8c", "v"), order=1),
            Condition("shuffled", "negative", "that the fit needs no pairing: fitted on permuted rows", True,
                      heading="shuf-\nfled", look=Look("#56b4e9", "s"), order=2),
            Condition("shuffled_within", "negative",
                      "that only the token is shared: fitted on rows permuted among those of the same token", True,
                      heading="within\ntoken", word="within", look=Look("#0072b2", "D"), order=3),
            Condition("spectrum", "negative",
                      "that equal covariances would do: principal axes onto principal axes, with random signs", True,
                      heading="spec-\ntrum", look=Look("#6a9a12", "h"), order=4),
            Condition("identity", "negative", "that no rotation is needed: recentred on the target's mean alone",
                      heading="iden-\ntity", look=Look("#cc79a7", "P"), order=5),
            Condition("mean", "negative", "that the target's mean state would do", heading="mean",
                      look=Look("#009e73", "X"), order=6),
            Condition("inputs", "negative",
                      "that what was read would do: the token, the one before, counts of tokens so far and the "
                      "position, mapped linearly", heading="in-\nputs", look=Look("#5a3a22", "^", width=2.0), order=7),
            Condition("raw", "mark", "the source's states as they are, with its own mean", heading="raw",
                      look=Look("#7f1d4e", "p"), order=1),
            Condition("given", "mark", "the matrix of task.matrix in place of the fitted one", heading="given",
                      look=Look("#a6761d", "d"), order=2),
            Condition("linear", "ceiling", "what a rotation loses: any linear map", heading="lin-\near",
                      look=Look("#000000", "*", (5, 1.5, 1, 1.5))),
        ]
    )  # fmt: skip
    axes = (SITE, STEP)
    gates = {  # noqa: RUF012
        "planted": "a known rotation of the target's own states is recovered (largest relative error)",
        "alone": "a string that is read alone has the stored states (largest relative difference)",
    }
    noun = "strings"
    heading = "rotation"

    def needs(self, config: "BridgeConfig") -> Needs:
        """Both models and the items; their states are those of every token."""
        return Needs(("source", "target"), True)

    def compute(self, config: "BridgeConfig", session: "Session", inputs: dict[str, str]) -> "Result":
        """See `bridge.tasks.rotation.cell`."""
        from bridge.tasks.rotation.cell import compute

        return compute(config, session, inputs)

    def print_cell(self, record: "Record", console: "Console") -> bool:
        """What the rotations look like; the common tables follow."""
        from bridge.tasks.rotation.tables import print_shapes

        print_shapes(record.data, console)
        return False

    def sections(self, comparisons: "Sequence[Comparison]") -> list[Section]:
        """What the rotations look like, in a report."""
        from bridge.tasks.rotation.tables import section

        return section(comparisons)
