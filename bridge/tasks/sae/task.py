"""The declaration of task=sae."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bridge.results.conditions import Condition, Conditions, Look
from bridge.results.metrics import Metric
from bridge.rotations.axes import SITE, STEP
from bridge.schema.sae import SAETaskConfig
from bridge.tasks.base import Needs, Section, Task

if TYPE_CHECKING:
    from rich.console import Console

    from bridge.records.record import Record
    from bridge.results.comparison import Comparison
    from bridge.results.points import Result
    from bridge.schema import BridgeConfig
    from bridge.session import Session


class SAETask(Task):
    """The source's sparse autoencoder on the target's states, for each site."""

    name = "sae"
    question = "Do the features of one model's sparse autoencoder exist in another model, up to a rotation?"
    config = SAETaskConfig
    uses = ("pair", "dataset")
    metrics = (
        Metric("ev", "explained variance of the target's states", "explained variance", high=1.0, heads=True,
               panel=True, tabled=True),
        Metric("l0", "features that fire at a token (L0)", "L0", low=0.0, items=None, tabled=True, heading="L0"),
        Metric("dead_share", "features that never fire (share)", "dead", "", False, low=0.0, high=1.0, items=None,
               tabled=True, heading="dead"),
        Metric("loss_recovered", "loss recovered in the target (mean state: 0, own state: 1)", "loss recovered",
               high=1.0, items=None, tabled=True, heading="loss\nrecov."),
        Metric("cosine_best", "largest decoder cosine (mean over features)", "largest cosine", high=1.0, items=None,
               tabled=True),
        Metric("cosine_matched", "matched decoder cosine (mean over features)", "matched cosine", high=1.0, items=None,
               tabled=True),
        Metric("cosine_above_half", "features with a decoder cosine above 0.5 (share)", "cosine > 0.5", low=0.0,
               high=1.0, items=None, tabled=True),
        Metric("firing", "correlation of firing patterns (mean over features)", "firing correlation", high=1.0,
               items=None, tabled=True),
    )  # fmt: skip
    conditions = Conditions(
        [
            Condition("rotated", "estimate", "the source's SAE, rotated into the target by the fitted rotation",
                      heading="ro-\ntated", what="the source's SAE, rotated", look=Look("#d55e00", "o", width=2.8)),
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
            Condition("recentred", "negative", "that no rotation is needed: the SAE on recentred states",
                      heading="re-\ncent.", look=Look("#cc79a7", "P"), order=5),
            Condition("frozen", "negative",
                      "that random features would do: an SAE with a frozen random decoder, rotated alike",
                      heading="fro-\nzen", look=Look("#999933", "<"), order=6),
            Condition("inputs", "negative",
                      "that the tokens alone would do: they predict states linearly, which go through the target's SAE",
                      heading="in-\nputs", look=Look("#5a3a22", "^", width=2.0), order=7),
            Condition("raw", "mark", "the source's SAE on the target's states as they are", heading="raw",
                      look=Look("#7f1d4e", "p"), order=1),
            Condition("shared_start", "mark",
                      "SAEs of both models that were started alike, compared without a rotation",
                      heading="shared\nstart", look=Look("#009e73", "X"), order=2),
            Condition("gaussian", "mark", "the rotated SAE on Gaussian rows of the target's covariance", True,
                      heading="gaus-\nsian", look=Look("#44aa99", "d"), order=3),
            Condition("carried", "mark", "the source's own states through its SAE, then rotated", heading="car-\nried",
                      look=Look("#332288", "1", (1, 1.6)), order=4),
            Condition("crosscoder", "mark", "one set of features for both, read from the source alone",
                      heading="cross-\ncoder", look=Look("#a6761d", "H"), order=5),
            Condition("native", "ceiling", "the target's own SAE", heading="own",
                      look=Look("#000000", "*", (5, 1.5, 1, 1.5)), order=1),
            Condition("second", "ceiling", "a second SAE of the target, from another seed", heading="sec-\nond",
                      look=Look("#4b3fb5", "2", (3, 9), 9), order=2),
        ]
    )  # fmt: skip
    axes = (SITE, STEP)
    gates = {  # noqa: RUF012
        "planted": "the source's SAE explains a rotated copy of the source as well as the source (difference)",
        "alone": "a string that is read alone has the stored states (largest relative difference)",
        "trained": "the target's own SAE explains its states (least explained variance of any site)",
    }
    noun = "strings"
    heading = "features"

    def needs(self, config: "BridgeConfig") -> Needs:
        """Both models and the items; their states are those of every token."""
        return Needs(("source", "target"), True)

    def compute(self, config: "BridgeConfig", session: "Session", inputs: dict[str, str]) -> "Result":
        """See `bridge.tasks.sae.cell`."""
        from bridge.tasks.sae.cell import compute

        return compute(config, session, inputs)

    def print_cell(self, record: "Record", console: "Console") -> bool:
        """Sparsity and likeness of features; the common tables of explained variance follow."""
        from bridge.tasks.sae.tables import print_features

        print_features(record.data, console)
        return False

    def sections(self, comparisons: "Sequence[Comparison]") -> list[Section]:
        """Sparsity and likeness of features, in a report."""
        from bridge.tasks.sae.tables import section

        return section(comparisons)
