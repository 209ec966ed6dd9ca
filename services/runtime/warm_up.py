"""Prepare the data that filters and metadata read, in background threads: never within a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from services.runtime.endpoint import CONFIGS
from services.runtime.metadata import is_metadata_enabled
from shared.aws.errors import PersonalizeError
from shared.jobs.runner import ActivityTracker
from shared.serving.filters import FilterCache
from shared.serving.model_cache import LoadedModel, ModelCache
from shared.store import Record
from shared.store.quarantine import Quarantine

log = structlog.get_logger()


@dataclass(frozen=True)
class WarmUp:
    """Prepares data for filters and metadata."""

    models: ModelCache
    filters: FilterCache
    quarantine: Quarantine
    activity: ActivityTracker = field(default_factory=ActivityTracker)
    """Records that loading and reading make progress: the lease that covers them is renewed only then."""

    def prepare_endpoint(self, record: Record, body: Mapping[str, Any], model: LoadedModel) -> None:
        """Prepare ``model`` for a campaign or recommender with these members."""
        try:
            self.filters.prepare_model(model, self.quarantine)
            if is_metadata_enabled(model.recipe, body.get(CONFIGS[f"{record.kind}Arn"]) or {}):
                self.filters.read_item_rows(model)
        except PersonalizeError as error:
            log.warning("filters not prepared", arn=record.arn, reason=str(error))

    def prepare_filter(self, record: Record) -> None:
        """Prepare a new filter for every loaded model of its dataset group."""
        for model in self.models.list_group_models(record.body["datasetGroupArn"]):
            self.activity.record_activity()
            try:
                self.filters.prepare_model(model, self.quarantine)
            except PersonalizeError as error:
                log.warning("filters not prepared", arn=record.arn, reason=str(error))
