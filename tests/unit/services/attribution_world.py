"""A dataset group with a metric attribution, a campaign and events, in a store whose clock stands still."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from services.events import app as events_app
from services.status import attribution
from services.status.attribution import ItemNumbers
from shared.http.app import Call
from shared.jobs.worker_process import WorkerProcess
from shared.settings import Settings
from shared.storage.artifacts import Artifacts
from shared.store import Record
from tests.strict import STRICT
from tests.unit.services.api.memory_api import GROUP, PREFIX, ROLE, MemoryApi

ARN = f"{PREFIX}:metric-attribution/m"
CAMPAIGN = f"{PREFIX}:campaign/c"
#: The start of a quarter of an hour.
NOW = 1_700_000_100


def metric(name: str, expression: str = "SAMPLECOUNT()", event_type: str = "Click") -> dict[str, str]:
    return {"metricName": name, "eventType": event_type, "expression": expression}


class AttributionWorld(MemoryApi):
    """Its clock is ``at``."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        super().__init__(**settings)
        self.at = float(NOW)
        self.folder = folder
        self.store._clock = lambda: self.at
        self.interactions = self.dataset(
            "Interactions",
            PRICE=["null", "double"],
            RECOMMENDATION_ID=["null", "string"],
            EVENT_ATTRIBUTION_SOURCE=["null", "string"],
        )
        self.items = self.dataset("Items")
        self.put(CAMPAIGN, "campaign", {"name": "c"})
        body = {"trackingId": "t", "datasetGroupArn": GROUP}
        self.put(f"{PREFIX}:event-tracker/t", "event_tracker", body, claims=("tracking-id:t",))
        self.process = self.create_process(Settings(import_memory_mb=256, **settings))
        self._numbers = itertools.count()

    def create_process(self, settings: Settings) -> WorkerProcess:
        return WorkerProcess(
            name="status@test:1",
            settings=settings,
            store=self.store,
            queue=self.context.queue,
            artifacts=Artifacts(self.folder / "artifacts"),
            ending=threading.Event(),
        )

    def attribute(self, *metrics: dict[str, str], **more: Any) -> None:
        """Create the attribution, with a destination for reports."""
        output = {"roleArn": ROLE, "s3DataDestination": {"path": "s3://bucket/reports/"}}
        request = {"name": "m", "datasetGroupArn": GROUP, "metrics": list(metrics), "metricsOutputConfig": output}
        self("CreateMetricAttribution", **{**request, **more})
        self.settle()

    def send(self, event_type: str = "click", invocation: str | None = None, **more: Any) -> None:
        """PutEvents of one event, sent now."""
        number = f"n{next(self._numbers)}"
        source = more.pop("source", None)
        event = {"eventType": event_type, "sentAt": self.at, "itemId": "i", **more}
        if source:
            event["metricAttribution"] = {"eventAttributionSource": source}
        if isinstance(event.get("properties"), Mapping):
            event["properties"] = json.dumps(event["properties"])
        request = {"trackingId": "t", "sessionId": "s", "userId": "u", "eventList": [event]}
        self.call_events("PutEvents", request, invocation or number)

    def put_item(self, item_id: str, **properties: Any) -> None:
        item = {"itemId": item_id, "properties": json.dumps(properties)}
        self.call_events("PutItems", {"datasetArn": self.items, "items": [item]}, f"n{next(self._numbers)}")

    def call_events(self, operation: str, request: Mapping[str, Any], invocation: str) -> None:
        handler = events_app.build_handlers(self.context.reading.settings, self.store)[operation]
        handler(Call(operation=operation, request=request, request_id="", invocation=invocation))

    def sum_up(self, items: ItemNumbers | None = None, process: WorkerProcess | None = None) -> None:
        attribution.sum_attributions(process or self.process, items or ItemNumbers(), STRICT)

    def values(self, **more: Any) -> dict[tuple[str, str], tuple[float, int]]:
        """(metric, source) -> value, samples."""
        listed = self("ListMetricAttributionValues", metricAttributionArn=ARN, **more)["values"]
        return {
            (one["metricName"], one["eventAttributionSource"]): (one["value"], one["sampleCount"]) for one in listed
        }

    def change(self, arn: str, **fields: Any) -> Record:
        self.store.replace(replace(self.record(arn), **fields))
        return self.record(arn)

    def remove(self, arn: str) -> None:
        self.store.remove(self.record(arn))
