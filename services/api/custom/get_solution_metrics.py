"""GetSolutionMetrics: what the evaluation measured; the popularity baseline and our own report travel in headers."""

from __future__ import annotations

from services.api import page_tokens
from services.api.context import ApiContext
from shared.http.app import Answer, Call


def get_solution_metrics(context: ApiContext, call: Call) -> Answer:
    version = context.reading.active(call.request["solutionVersionArn"], "solution_version")
    headers = {"x-foretaste-baseline": page_tokens.dump_json(version.state["baseline"])}
    # Segments and actions have none, nor has what was trained by an older release.
    if version.state.get("report"):
        headers["x-foretaste-report"] = page_tokens.dump_json(version.state["report"])
    return Answer(
        members={"solutionVersionArn": version.arn, "metrics": version.state["metrics"]},
        headers=headers,
    )
