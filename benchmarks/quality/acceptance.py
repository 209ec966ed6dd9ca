"""What must be reached, line by line, each beside its peers: ``python -m benchmarks.quality accept NAME``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.quality.guests import NETWORKS
from benchmarks.quality.peers import PEERS
from benchmarks.quality.runs import Row

CHEAP = (*PEERS, "als")
"""Peers that take seconds or minutes whatever the data set."""


@dataclass(frozen=True, kw_only=True)
class Target:
    view: str
    column: str
    figure: float


@dataclass(frozen=True, kw_only=True)
class Line:
    data_set: str
    protocol: str
    targets: Sequence[Target]
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Beside the recipe's defaults."""
    cell: str = "linear"
    most_seconds: float | None = None
    """Of training, on two cores."""
    peers: Sequence[str] = (*CHEAP, *NETWORKS)


LINES: Mapping[str, Line] = {
    "ml-100k": Line(
        data_set="ml-100k",
        protocol="h10",
        targets=[Target(view="raw", column="NDCG@25", figure=0.23)],
        most_seconds=180,
    ),
    "ml-100k-best": Line(
        data_set="ml-100k",
        protocol="h10",
        targets=[Target(view="raw", column="NDCG@25", figure=0.245)],
        parameters={"recency_mask": "false"},
        cell="gru",
    ),
    # 1.3 times the best peer of the prototypes' table (a Markov chain, 0.088).
    "ml-latest-small": Line(
        data_set="ml-latest-small",
        protocol="h10",
        targets=[Target(view="raw", column="NDCG@25", figure=0.1144)],
    ),
    "ml-1m-order": Line(
        data_set="ml-1m-order",
        protocol="loo",
        targets=[
            Target(view="filtered", column="NDCG@10", figure=0.210),
            Target(view="filtered", column="HR@10", figure=0.355),
        ],
        parameters={"hidden_dimension": "128"},
        cell="linear",
        most_seconds=1800,
        peers=CHEAP,
    ),
}

PUBLISHED: Mapping[tuple[str, str], Sequence[Row]] = {
    ("ml-1m-order", "loo"): [
        Row(model=model, runs=[{"filtered": {"NDCG@10": ndcg, "HR@10": hits}}], note="published")
        for model, ndcg, hits in (
            ("GRU4Rec, CE", 0.165, 0.281),
            ("BERT4Rec", 0.162, 0.292),
            ("gSASRec", 0.173, 0.300),
            ("SASRec, RecTools", 0.178, 0.306),
            ("SASRec+, CE", 0.182, 0.315),
            ("SASRec+, 3000 negatives", 0.186, 0.316),
            ("HSTU", 0.172, 0.310),
            ("HSTU-large", 0.189, 0.329),
            ("HSTU-large, RecTools, with the real times", 0.2164, 0.3642),
        )
    ]
}
"""READMEs of antklen/sasrec-bert4rec-recsys23, asash/gSASRec-pytorch, facebookresearch/generative-recommenders."""


def verdicts(line: Line, ours: Row, peers: Sequence[Row]) -> list[str]:
    """A sentence a target: the figure, the target, and the best of the peers."""
    sentences = []
    for target in line.targets:
        figure = ours.mean(target.view, target.column)
        of_peers = {peer.model: peer.mean(target.view, target.column) for peer in peers}
        known = {model: value for model, value in of_peers.items() if value is not None}
        best = max(known, key=lambda model: known[model]) if known else None
        beside = f"; the best peer is {best}: {known[best]:.4f}" if best else ""
        if figure is None:
            sentences.append(f"{target.view} {target.column}: {ours.note}; target {target.figure:.4f}{beside}")
            continue
        word = "reached" if figure >= target.figure else "MISSED"
        one = ours.runs[0][target.view][target.column]
        sentences.append(
            f"{target.view} {target.column}: {figure:.4f} ±{ours.spread(target.view, target.column):.4f} "
            f"(mean of {len(ours.runs)} seeds; seed 0: {one:.4f}), target {target.figure:.4f}: {word}{beside}"
        )
    if line.most_seconds is not None and ours.seconds is not None:
        word = "kept" if ours.seconds <= line.most_seconds else "MISSED"
        sentences.append(f"training took {ours.seconds:.0f} s of at most {line.most_seconds:.0f} s: {word}")
    return sentences
