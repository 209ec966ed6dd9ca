"""What a simulated runtime loads: models, and what filters read."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from shared.jobs.runner import ActivityTracker
from shared.serving.model_cache import NotDeployable
from shared.store import Record
from tests.simulation.edges import Disk
from tests.simulation.world import World


class ModelLoader:
    """``services.runtime.loader.ModelLoader`` and ``shared.serving.model_cache.ModelCache`` of one runtime."""

    def __init__(self, world: World, disk: Disk) -> None:
        self._world, self._disk = world, disk
        self._held: dict[str, object] = {}

    def get_model(self, version_arn: str) -> object | None:
        return self._held.get(version_arn)

    def keep_only(self, needed: set[str]) -> None:
        self._held = {arn: model for arn, model in self._held.items() if arn in needed}

    def begin_loading(self, version_arn: str) -> Future[Any]:
        return _Loaded(self._world, self, version_arn, self._disk)


class _Loaded(Future[Any]):
    def __init__(self, world: World, loading: ModelLoader, version_arn: str, disk: Disk) -> None:
        super().__init__()
        self._world, self._loading, self._arn, self._disk = world, loading, version_arn, disk
        self.set_result(None)

    def result(self, timeout: float | None = None) -> Any:
        self._world.step("load", self._arn)
        self._world.pause(self._world.chance.choice((0.02, 0.5, 3.0)))
        if self._arn not in self._disk.kept:
            raise NotDeployable(f"The artifact of {self._arn} is missing.")
        self._loading._held[self._arn] = object()
        return None


class WarmUp:
    """``services.runtime.warm_up.WarmUp`` of one runtime: what filters read is at hand after a while."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.activity = ActivityTracker()

    def prepare_endpoint(self, record: Record, _body: Mapping[str, Any], _model: Any) -> None:
        self._world.step("prepare", record.arn)

    def prepare_filter(self, record: Record) -> None:
        self._world.step("prepare", record.arn)
        self._world.pause(self._world.chance.choice((0.02, 0.5, 3.0)))
