"""GetSolutionMetrics: the metrics of the evaluation; headers carry the popularity baseline and our own report."""

from __future__ import annotations

from services.api import page_tokens
from services.api.context import ApiContext
from shared.http.app import Answer, Call


def get_solution_metrics(context: ApiContext, call: Call) -> Answer:
    version = context.reading.find_active(call.request["solutionVersionArn"], "solution_version")
    headers = {"x-foretaste-baseline": page_tokens.dump_json(version.state["baseline"])}
    # Segments, actions, and versions that an older release trained have no report.
    if version.state.get("report"):
        headers["x-foretaste-report"] = page_tokens.dump_json(version.state["report"])
    return Answer(
        members={"solutionVersionArn": version.arn, "metrics": version.state["metrics"]},
        headers=headers,
    )
