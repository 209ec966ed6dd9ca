"""The peer: the same gunicorn, the same Flask, the same wire checks, and answers that are always the same."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from flask import Flask

from shared import settings
from shared.http import app
from shared.observability import logging
from shared.state.lifecycle import ACTIVE

ARN = "arn:aws:personalize:us-east-1:000000000000"
SUMMARY: Mapping[str, Any] = {
    "name": "standing-01234",
    "solutionArn": f"{ARN}:solution/standing-01234",
    "status": ACTIVE,
    "creationDateTime": 1_700_000_000.917,
    "lastUpdatedDateTime": 1_700_000_000.917,
    "recipeArn": "arn:aws:personalize:::recipe/aws-hrnn",
}
SOLUTION: Mapping[str, Any] = {
    **SUMMARY,
    "performHPO": False,
    "performAutoML": False,
    "performAutoTraining": False,
    "datasetGroupArn": f"{ARN}:dataset-group/benchmark",
}


def describe(_call: app.Call) -> Mapping[str, Any]:
    return {"solution": SOLUTION}


def listed(_call: app.Call) -> Mapping[str, Any]:
    return {"solutions": [SUMMARY] * 100, "nextToken": "x" * 120}


def create_app() -> Flask:
    configured = settings.load()
    logging.configure_logging(configured, "api")
    handlers: Mapping[str, app.OperationHandler] = {"DescribeSolution": describe, "ListSolutions": listed}
    return app.create_app({os.environ["BENCHMARK_SERVICE"]: handlers}, keys=configured.keys)
