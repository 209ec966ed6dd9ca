"""Load models in the background, one after the other, and check each with canary queries before requests reach it.

A request never loads a model. Without one it waits for a moment and is then refused with 503: ACTIVE means that at
least one runtime can answer, and a client that tries again reaches that runtime or finds the model loaded here. A
request that waited until the end of the loading would hold a thread that requests to loaded models need.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import structlog

from shared.http.leader_followers import step_aside
from shared.recipes.scoring_api import Past, Query
from shared.serving.model_cache import LOG_SAYS_MORE, LoadedModel, ModelCache, NotDeployable

log = structlog.get_logger()

#: How long a request waits for a model (seconds): most are loaded by then.
PATIENCE = 1.0
#: How long a model that can't be loaded is not tried again (seconds).
BROKEN_FOR = 5.0


class StillLoading(Exception):
    """The model is being loaded."""


class ModelLoader:
    """Loads the models of a ``ModelCache``. Safe to share between threads."""

    def __init__(self, models: ModelCache) -> None:
        self._models = models
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="loading")
        self._lock = threading.Lock()
        self._begun: dict[str, Future[LoadedModel]] = {}
        self._broken: dict[str, tuple[float, Future[LoadedModel]]] = {}

    def wait_for_model(self, version_arn: str) -> LoadedModel:
        """Return the model for a request. Raises NotDeployable, StillLoading and the store's errors."""
        held = self._models.get_model(version_arn)
        if held is not None:
            return held
        begun = self.begin_loading(version_arn)
        try:
            with step_aside():
                return begun.result(PATIENCE)
        except TimeoutError:
            if begun.done():
                raise
            raise StillLoading("its model is being loaded.") from None

    def begin_loading(self, version_arn: str) -> Future[LoadedModel]:
        """Return the future model of a solution or recommender version, or the reason why it can't be loaded."""
        with self._lock:
            until, broken = self._broken.get(version_arn, (0.0, None))
            if broken is not None and time.monotonic() < until:
                return broken
            begun = self._begun.get(version_arn)
            if begun is None:
                begun = self._begun[version_arn] = self._pool.submit(self._load_model, version_arn)
            return begun

    def _load_model(self, version_arn: str) -> LoadedModel:
        try:
            model = self._models.load_model(version_arn)
            run_canary_queries(model)
        except NotDeployable as error:
            log.warning("model not loaded", version=version_arn, reason=str(error))
            with self._lock:
                self._broken[version_arn] = (time.monotonic() + BROKEN_FOR, self._begun[version_arn])
            raise
        else:
            return model
        finally:
            with self._lock:
                del self._begun[version_arn]


def run_canary_queries(model: LoadedModel) -> None:
    """Query the model without a user and with a history: its answers must be distributions over its items.

    Raises NotDeployable.
    """
    if not model.item_ids:
        raise NotDeployable("The model has no items. Train the solution again.")
    now, item_id = time.time(), model.item_ids[0]
    for query in (Query(now=now), Query(now=now, history=[Past(item_id, now)], item_id=item_id)):
        try:
            scores = model.score_items(query)
        except Exception as error:
            # Any error: other campaigns wait for this thread.
            log.exception("canary query failed")
            raise NotDeployable(f"The model can't answer ({type(error).__name__}). {LOG_SAYS_MORE}") from error
        _check_distribution(scores, len(model.item_ids))


def _check_distribution(scores: npt.NDArray[np.float32], items: int) -> None:
    shown = scores[scores >= 0]
    if scores.shape != (items,) or not np.isfinite(scores).all() or (len(shown) and abs(shown.sum() - 1.0) > 1e-3):
        raise NotDeployable("The model's answer is no distribution over its items. Train the solution again.")
