"""The types of resources: a folder per type, each declaring one ``Resource``. Services and workers act on them.

A new type is a folder whose ``__init__`` holds ``resource = Resource(...)``; README.md says how.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType

from shared.resources.resource_type import Draft, Resource, ResourceReader, describe_record, summarize_record

__all__ = ["RESOURCES", "Draft", "Resource", "ResourceReader", "describe_record", "summarize_record"]


def _discover_resources() -> Mapping[str, Resource]:
    folders = [module.name for module in pkgutil.iter_modules(__path__) if module.ispkg]
    declared = [importlib.import_module(f"{__name__}.{folder}").resource for folder in folders]
    return MappingProxyType({resource.noun: resource for resource in declared})


#: By noun: "solution_version" and so on; the noun is the folder's name and the record's ``kind``.
RESOURCES: Mapping[str, Resource] = _discover_resources()
