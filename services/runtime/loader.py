"""Models are loaded in the background, one after the other, and asked a question before anybody else asks one.

A request never loads a model. Where it finds none it waits for a moment, and is then refused with 503: ACTIVE says that
one runtime can answer, and a client that tries again reaches it, or finds the model loaded here. A request that waited
for as long as it takes would keep a thread from those whose models are there.
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

#: How long a request waits for a model (seconds): most are there by then.
PATIENCE = 1.0
#: A model that can't be loaded is not tried again for so long (seconds).
BROKEN_FOR = 5.0


class StillLoading(Exception):
    """The model is being loaded."""


class ModelLoader:
    """Safe to share between threads."""

    def __init__(self, deployed: ModelCache) -> None:
        self._deployed = deployed
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="loading")
        self._lock = threading.Lock()
        self._begun: dict[str, Future[LoadedModel]] = {}
        self._broken: dict[str, tuple[float, Future[LoadedModel]]] = {}

    def wait_for_model(self, version_arn: str) -> LoadedModel:
        """The model, for a request. Raises NotDeployable, NotYet, and what the store raises."""
        held = self._deployed.get_model(version_arn)
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
        """The model of a solution version or recommender version as soon as it is loaded, or why it can't be."""
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
            model = self._deployed.load_model(version_arn)
            run_canary_queries(model)
        except NotDeployable as error:
            log.warning("not loaded", version=version_arn, reason=str(error))
            with self._lock:
                self._broken[version_arn] = (time.monotonic() + BROKEN_FOR, self._begun[version_arn])
            raise
        else:
            return model
        finally:
            with self._lock:
                del self._begun[version_arn]


def run_canary_queries(model: LoadedModel) -> None:
    """Ask the model for nobody and for somebody: its answers must be distributions over its items.

    Raises NotDeployable.
    """
    if not model.item_ids:
        raise NotDeployable("The model has no items. Train the solution again.")
    now, item_id = time.time(), model.item_ids[0]
    for query in (Query(now=now), Query(now=now, history=[Past(item_id, now)], item_id=item_id)):
        try:
            scores = model.score_items(query)
        except Exception as error:
            # Whatever it is: other campaigns wait for this thread.
            log.exception("the canary broke")
            raise NotDeployable(f"The model can't answer ({type(error).__name__}). {LOG_SAYS_MORE}") from error
        _check_distribution(scores, len(model.item_ids))


def _check_distribution(scores: npt.NDArray[np.float32], items: int) -> None:
    shown = scores[scores >= 0]
    if scores.shape != (items,) or not np.isfinite(scores).all() or (len(shown) and abs(shown.sum() - 1.0) > 1e-3):
        raise NotDeployable("The model's answer is no distribution over its items. Train the solution again.")
