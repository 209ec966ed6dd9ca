"""The page about metrics and the dashboard name what there is, by the labels that it has."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from services.api.store_metrics import StoreMetrics
from shared.observability import metrics as meters
from shared.store.memory import MemoryStore
from shared.store.redis_probe import RedisProbe
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "observability.md").read_text()
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "foretaste.json").read_text())
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
#: Prometheus's own, and those that it adds to each sample.
GIVEN = {"process_resident_memory_bytes": frozenset({"job", "instance"})}
TARGETS = [(panel["title"], target) for panel in DASHBOARD["panels"] for target in panel["targets"]]


def metrics() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Name -> its type and its labels."""
    state = StoreMetrics(MemoryStore(), len, RedisProbe("redis://127.0.0.1/0"))
    declared = [(metric.describe()[0], metric._labelnames) for metric in meters.METRICS]
    declared += [(family, family._labelnames) for family in state.describe()]
    return {family.name: (family.type, tuple(labels)) for family, labels in declared}


def samples() -> dict[str, frozenset[str]]:
    """Name of a series -> the labels that an expression may use of it."""
    return GIVEN | {
        f"{name}{suffix}": frozenset({*labels, "le"} if suffix == "_bucket" else labels)
        for name, (kind, labels) in metrics().items()
        for suffix in SUFFIXES[kind]
    }


def test_the_page_lists_every_metric_with_its_labels_and_no_other() -> None:
    rows = re.findall(r"^\| `(foretaste_\w+)` \| ([\w, ]*)\|", PAGE, re.MULTILINE)
    listed = {name: tuple(labels.strip().split(", ")) if labels.strip() else () for name, labels in rows}
    assert listed == {
        f"{name}_total" if kind == "counter" else name: labels for name, (kind, labels) in metrics().items()
    }


def test_the_page_speaks_of_no_metric_that_there_is_not() -> None:
    assert set(re.findall(r"foretaste_\w+", PAGE)) <= {*samples(), *metrics()}


@pytest.mark.parametrize(("title", "target"), TARGETS, ids=[f"{title} {one['refId']}" for title, one in TARGETS])
def test_the_dashboard_asks_for_what_there_is(title: str, target: dict[str, Any]) -> None:
    names = re.findall(r"\b(?:foretaste|process|python)_\w+", target["expr"])
    assert len(names) == 1
    grouped = re.findall(r"by \(([\w, ]+)\)", target["expr"])
    used = {label for group in grouped for label in group.split(", ")}
    used |= set(re.findall(r"[{,](\w+)[!=]", target["expr"])) | set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
    assert used <= samples()[names[0]]


def test_the_dashboard_shows_every_metric() -> None:
    text = json.dumps(DASHBOARD)
    assert [name for name in metrics() if name not in text] == []


def test_the_dashboard_can_be_imported() -> None:
    assert DASHBOARD["uid"] == DASHBOARD["title"] == "foretaste"
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels)
    assert {panel["datasource"]["uid"] for panel in panels} == {"${source}"}
