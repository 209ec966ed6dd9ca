"""Finds the function that answers an operation, its file, the tests that call it, and the rules that it keeps."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from botocore import xform_name

from services.api.operations import create_resource
from shared.resources import Resource

ROOT = Path(__file__).parent.parent.parent
#: Where operations are tested by name. ``tests/conformance`` tests them all.
TESTS = ("tests/operations", "tests/unit/services", "tests/unit/shared/resources", "tests/acceptance")

#: The rules of Amazon Personalize by subject, numbered as in the project's collection of them.
SUBJECTS: Mapping[str, str] = {
    "1.1": "statuses, and what Describe shows when",
    "1.2": "a solution version's life",
    "1.3": "a recommender's life",
    "1.4": "a campaign's life",
    "1.5": "which parents must be in which state",
    "1.6": "deletions that are refused",
    "1.7": "errors and names",
    "2": "ARNs",
    "3.1": "schemas and datasets",
    "3.2": "CSV",
    "3.3": "import, export, deletion of data",
    "3.4": "how much data a training needs",
    "4": "recipes and their hyperparameters",
    "5": "solutions: AutoML, HPO, schedules, columns",
    "6": "evaluation and its metrics",
    "7": "recommendations, rankings, exploration",
    "8": "filter expressions",
    "9.1": "batch inference",
    "9.2": "batch segments",
    "10": "events, and single items, users and actions",
    "10.20": "metric attribution",
    "11.1": "tags",
    "11.2": "pages",
    "11.3": "quotas",
    "11.5": "keys and roles",
    "12": "dataset groups of a domain",
}
OF_VERBS: Mapping[str, tuple[str, ...]] = {
    "Create": ("1.5", "1.7", "2", "11.3"),
    "Describe": ("1.1",),
    "List": ("11.2",),
    "Update": ("1.1", "1.5"),
    "Delete": ("1.6",),
    "Start": (),
    "Stop": (),
}
OF_NOUNS: Mapping[str, tuple[str, ...]] = {
    "Algorithm": ("4",),
    "BatchInferenceJob": ("9.1",),
    "BatchSegmentJob": ("9.2",),
    "Campaign": ("1.4",),
    "DataDeletionJob": ("3.3",),
    "Dataset": ("3.1",),
    "DatasetExportJob": ("3.3",),
    "DatasetGroup": ("11.5", "12"),
    "DatasetImportJob": ("3.2", "3.3"),
    "EventTracker": ("10",),
    "FeatureTransformation": ("4",),
    "Filter": ("8",),
    "MetricAttribution": ("10.20",),
    "MetricAttributionMetric": ("10.20",),
    "Recipe": ("4",),
    "Recommender": ("1.3", "12"),
    "Schema": ("3.1",),
    "Solution": ("4", "5"),
    "SolutionVersion": ("1.2", "3.4", "5"),
    "SolutionVersionCreation": ("1.2",),
}
OF_OTHERS: Mapping[str, tuple[str, ...]] = {
    "GetActionRecommendations": ("7", "8"),
    "GetPersonalizedRanking": ("7", "8"),
    "GetRecommendations": ("7", "8"),
    "GetSolutionMetrics": ("1.2", "6"),
    "ListTagsForResource": ("11.1",),
    "ListMetricAttributionValues": ("10.20",),
    "ListTrials": ("5",),
    "PutActionInteractions": ("10",),
    "PutActions": ("10",),
    "PutEvents": ("10",),
    "PutItems": ("10",),
    "PutUsers": ("10",),
    "TagResource": ("11.1",),
    "UntagResource": ("11.1",),
}


def find_rules(operation: str) -> tuple[str, ...]:
    """Return the numbers of the rules that an operation keeps. Raises KeyError for an operation without any."""
    if operation in OF_OTHERS:
        return OF_OTHERS[operation]
    verb, noun = _split_operation(operation)
    kept = {*OF_VERBS[verb], *OF_NOUNS[noun]}
    return tuple(number for number in SUBJECTS if number in kept)


def _split_operation(operation: str) -> tuple[str, str]:
    """Split "ListCampaigns" into the verb and the noun in the singular."""
    verb, noun = re.findall(r"^([A-Z][a-z]+)(.+)$", operation)[0]
    return verb, noun.removesuffix("s") if verb == "List" else noun


def describe_handler(handler: Any) -> str:
    """Return the name of an operation's function and its file; for Create, also the file of the type's checks."""
    checks = ""
    while isinstance(handler, partial):
        checks = next((f", `{_get_path(one.draft)}`" for one in handler.args if isinstance(one, Resource)), checks)
        handler = handler.func
    return f"{handler.__name__} in `{_get_path(handler)}`{checks if handler is create_resource else ''}"


def _get_path(thing: Any) -> str:
    return str(Path(inspect.getfile(thing)).relative_to(ROOT))


def find_tests(operation: str) -> list[str]:
    """Return the test files that call an operation: two at most, those with its or its resource's name first.

    A call is boto3's method, the operation's own name, or a helper that creates a resource and waits for it.
    """
    method = xform_name(operation)
    noun = method.partition("_")[2].removesuffix("s")
    asked = rf'\b{method}\b|"{operation}"'
    if method.startswith("describe_"):
        asked += rf'|settled\("{noun}"'
    named = {f"test_{method}.py", f"test_{noun}s.py"}
    found = [path for path, text in _load_sources() if re.search(asked, text)]
    return sorted(found, key=lambda path: Path(path).name not in named)[:2]


@cache
def _load_sources() -> tuple[tuple[str, str], ...]:
    return tuple(_read_sources())


def _read_sources() -> Iterator[tuple[str, str]]:
    for folder in TESTS:
        for path in sorted((ROOT / folder).rglob("test_*.py")):
            yield str(path.relative_to(ROOT)), path.read_text()
