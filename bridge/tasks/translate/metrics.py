"""The scores of what the target decodes, and of the states themselves."""

from bridge.results.metrics import Metric


def _share(name: str, title: str, short: str = "", **more: object) -> Metric:
    return Metric(name, title, short, low=0.0, high=1.0, binary=True, mask="token", **more)  # type: ignore[arg-type]


# Of the answer's first token.
TOKEN = (
    _share("top1", "top-1 (share of items)", "top-1", heads=True, panel=True, tabled=True),
    _share("top5", "top-5 (share of items)", "top-5"),
    _share("top10", "top-10 (share of items)", "top-10", tabled=True),
    Metric("mrr", "mean reciprocal rank", "MRR", low=0.0, high=1.0, mask="token", tabled=True),
    Metric(
        "logprob_nats",
        "gold log-probability (nats)",
        "gold log-probability",
        "nats",
        high=0.0,
        mask="token",
        panel=True,
        tabled=True,
        heading="log-prob\n(nats)",
    ),
    Metric("kl_nats", "divergence from the target's own answer (nats)", "KL", "nats", False, low=0.0, mask="token"),
    _share("agreement", "agreement with the source's own answer (share of items)", "agreement"),
)
# Of the whole answer.
WHOLE = (
    Metric("answer_logprob_nats", "log-probability of the whole answer (nats)", "", "nats", high=0.0, mask="whole"),
    Metric("token_f1", "token F1 of the whole answer", "token F1", low=0.0, high=1.0, share=True, mask="whole"),
    Metric("exact_match", "exact match (share of items)", "exact match", low=0.0, high=1.0, binary=True, mask="whole"),
)
SHARES = (
    Metric("fraction_of_native", "share of the target's own top-1", "share of native top-1", low=0.0, items=None,
           share_of="top1", tabled=True, heading="of\nnative"),
    Metric("fraction_of_native_f1", "share of the target's own token F1", "share of native F1", low=0.0, items=None,
           share_of="token_f1"),
)  # fmt: skip
# Of the mapped states, held out.
STATES = (
    Metric("explained_variance", "explained variance of the target's states", "explained variance", high=1.0,
           items=None, tabled=True),
    Metric("relative_error", "relative error of the target's states (mean: 1)", "relative error", "", False, low=0.0,
           items=None),
    Metric("cosine", "cosine with the target's states", "cosine", low=-1.0, high=1.0, items=None),
)  # fmt: skip
METRICS = (*TOKEN, *WHOLE, *SHARES, *STATES)
