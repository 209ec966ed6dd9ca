"""GetSolutionMetrics: what the evaluation measured; the popularity baseline beside it travels in a header."""

from __future__ import annotations

from services.api import tokens
from services.api.operations import Desk
from shared.aws.web import Answer, Call


def get_solution_metrics(desk: Desk, call: Call) -> Answer:
    version = desk.reading.active(call.request["solutionVersionArn"], "solution_version")
    return Answer(
        members={"solutionVersionArn": version.arn, "metrics": version.state["metrics"]},
        headers={"x-foretaste-baseline": tokens.compact(version.state["baseline"])},
    )
