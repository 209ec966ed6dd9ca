"""Makes ready what requests with filters, and answers with metadata, will need: beside the requests, never in one."""

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
    models: ModelCache
    filters: FilterCache
    quarantine: Quarantine
    signs: ActivityTracker = field(default_factory=ActivityTracker)
    """That loading and reading get on, for the lease under which they are done."""

    def prepare_endpoint(self, record: Record, body: Mapping[str, Any], model: LoadedModel) -> None:
        """For a campaign or recommender that ``model`` answers for, or will, with these members."""
        try:
            self.filters.prepare_model(model, self.quarantine)
            if is_metadata_enabled(model.recipe, body.get(CONFIGS[f"{record.kind}Arn"]) or {}):
                self.filters.read_item_rows(model)
        except PersonalizeError as error:
            log.warning("not made ready", arn=record.arn, reason=str(error))

    def prepare_filter(self, record: Record) -> None:
        """For a filter that is about to be usable, with all models that may be asked with it."""
        for model in self.models.list_group_models(record.body["datasetGroupArn"]):
            self.signs.record_activity()
            try:
                self.filters.prepare_model(model, self.quarantine)
            except PersonalizeError as error:
                log.warning("not made ready", arn=record.arn, reason=str(error))
