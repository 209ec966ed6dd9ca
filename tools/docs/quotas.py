"""The page of AWS's quotas: those that are settings, those that are fixed, and those that nothing enforces."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields

from services.events.put_events import EVENT_BYTES
from services.runtime import metadata, rank, recommend, recommend_actions
from shared.data.arrays.histories import MIN_INTERACTIONS, MIN_USERS
from shared.data.training.event_tables import MAX_KINDS
from shared.filters.checking import MAX_FIELDS
from shared.recipes.hrnn import cold_items
from shared.resources.batch_segment_job.requests import MOST_RESULTS as MOST_SEGMENT_USERS
from shared.resources.filter.requests import MOST_FIELDS_OF_A_GROUP
from shared.resources.metric_attribution.requests import MOST_METRICS
from shared.settings import Settings

#: A setting's meaning with AWS's value: "maximum number of schemas; empty: no limit (AWS: 500)".
_WITH_AWS = re.compile(r"(.*?)(?:, as 100/second)?(?:; empty: no limit)? \(AWS: (.*)\)")

#: Quota -> the value that foretaste enforces, which is AWS's.
FIXED: Mapping[str, str] = {
    "items of GetRecommendations": f"{recommend.MOST_RESULTS:,}",
    "items of GetPersonalizedRanking": f"{rank.MOST_ITEMS:,}",
    "items of an answer with metadata": f"{metadata.MOST_ITEMS_WITH_METADATA:,}",
    "metadata columns of a request": f"{metadata.MOST_COLUMNS:,}",
    "actions of GetActionRecommendations": f"{recommend_actions.MOST_RESULTS:,}",
    "users of a segment": f"{MOST_SEGMENT_USERS:,}",
    "events of a call of PutEvents; records of PutItems, PutUsers and PutActions": "10",
    "size of an event": f"{EVENT_BYTES // 1024} KB",
    "distinct fields of a filter": f"{MAX_FIELDS:,}",
    "distinct fields of all filters of a dataset group": f"{MOST_FIELDS_OF_A_GROUP:,}",
    "metrics of a metric attribution": f"{MOST_METRICS:,}",
    "minimum number of interactions of a training": f"{MIN_INTERACTIONS:,}",
    "minimum number of users of a training with two interactions or more": f"{MIN_USERS:,}",
    "event types and metadata columns of a training's interactions, together": f"{MAX_KINDS:,}",
    "cold items of a training with aws-hrnn-coldstart": f"{cold_items.FEWEST:,} to {cold_items.MOST:,}",
    "tags of a resource": "50",
}

#: Quota -> AWS's value.
NOT_ENFORCED: Mapping[str, str] = {
    "interactions of a training": "500 million; 3 billion for aws-user-personalization-v2 and "
    "aws-personalized-ranking-v2",
    "items of a training": "750,000; 5 million for the recipes of version 2; 10 million for aws-semantic-similarity",
    "Users and Items of a training with aws-hrnn-metadata or aws-hrnn-coldstart": "5 GB",
    "requests to one campaign": "500/second; a setting limits the requests of an access key to all campaigns",
    "calls of PutEvents and PutActionInteractions for one dataset group": "1000/second; a setting limits those of an "
    "access key for all dataset groups",
    "calls of PutItems, PutUsers and PutActions for one dataset group": "10/second; a setting limits those of an "
    "access key for all dataset groups",
    "minProvisionedTPS and minRecommendationRequestsPerSecond": "kept and returned; the capacity is that of the "
    "machine",
}


def list_settings() -> Iterator[tuple[str, str, str, str]]:
    """Yield (variable, quota, AWS's value, default) of the settings whose meaning names a value of AWS."""
    for field in fields(Settings):
        found = _WITH_AWS.fullmatch(field.metadata["meaning"])
        if found:
            default = "no limit" if field.default is None else f"{field.default:,}"
            yield f"FORETASTE_{field.name.upper()}", found[1], found[2], default


def build_quota_page() -> str:
    lines = [
        "# Quotas\n",
        "This page is for operators and for people who come from AWS. It lists AWS's quotas: which of them a setting",
        "turns on, which are fixed, and which nothing enforces. A call beyond a quota is refused with AWS's error, and",
        "a job beyond one fails with a reason that names the setting.\n",
        "## By a setting\n",
        "Jobs share the workers of a machine, so that their quotas are on by default. The settings for other resources",
        "are off: give them AWS's values to test how a client meets a quota.\n",
        "| quota | AWS | default | setting |",
        "|---|---|---|---|",
        *(f"| {quota} | {aws} | {default} | `{variable}` |" for variable, quota, aws, default in list_settings()),
        "\nRates are counted for each access key, over all processes.\n",
        "## Fixed\n",
        "| quota | AWS, and here |",
        "|---|---|",
        *(f"| {quota} | {value} |" for quota, value in FIXED.items()),
        "\n## Not enforced\n",
        "| quota | AWS |",
        "|---|---|",
        *(f"| {quota} | {value} |" for quota, value in NOT_ENFORCED.items()),
    ]
    return "\n".join([*lines, ""])
