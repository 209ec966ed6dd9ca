"""The models in memory, by version. The record of a campaign or recommender names the version that answers for it."""

from __future__ import annotations

import importlib
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import structlog

from shared import recipes
from shared.data.arrays.id_index import SortedIds
from shared.http.leader_followers import step_aside
from shared.recipes import Recipe
from shared.recipes.scoring_api import (
    ArtifactError,
    BlockScorer,
    CandidateItems,
    ExplainedScores,
    ExplainingScorer,
    NewItem,
    Past,
    Query,
    Scorer,
    SegmentScorer,
    SoughtItems,
    UpdatableScorer,
)
from shared.resources import ResourceReader
from shared.resources.dataset.requests import TYPES, build_dataset_arn
from shared.resources.dataset_group.purges import count_purges
from shared.storage.artifacts import ArtifactDamaged, Artifacts

log = structlog.get_logger()

LOG_SAYS_MORE = "The runtime's log says more; train again, or give the runtime more memory."


SIDE_BY_SIDE = 50_000
"""Catalogues of at least so many items are scored for several requests in parallel: see ``LoadedModel.score_items``."""

TOGETHER = 200_000
"""From so many items on, all waiting requests are scored at once and share passes over the weights."""

MOST_HISTORIES = 4096
"""Histories kept of a model for the next request of the same user, at about 150 bytes an event."""


class NotDeployable(Exception):
    """The model of a version can't be loaded; the message gives the reason and a remedy."""


class LoadedModel:
    """One loaded model and its dataset group. ``datasets`` maps each dataset type to the ARN it has if it exists."""

    def __init__(
        self, scorer: Scorer, recipe: Recipe, group: str, datasets: Mapping[str, str], purges: int = 0
    ) -> None:
        self.recipe = recipe
        self.group = group
        #: The group's count of deletions of users when the model was loaded.
        self.purges = purges
        self.datasets = datasets
        #: The dataset whose live events continue the model's histories.
        self.interactions = datasets[recipe.interactions]
        self.item_ids = item_ids = scorer.item_ids
        #: Returns the id of the item at a place in ``item_ids``.
        self.get_item_id = item_ids.get_id if isinstance(item_ids, SortedIds) else item_ids.__getitem__
        #: Returns the user's events as trained on, not to be changed: the same list at each request, so that a scorer
        #: recognises a history that it has read before.
        self.get_history = lru_cache(MOST_HISTORIES)(scorer.history)
        self._scorer = scorer

    @property
    def segment_scorer(self) -> SegmentScorer:
        """The scorer of a recipe of type USER_SEGMENTATION."""
        return cast(SegmentScorer, self._scorer)

    def with_items(self, items: Sequence[NewItem], on_block: Callable[[], None]) -> LoadedModel:
        """Return a model that knows these items; this model where it knows them already.

        The recipe must take new items. Raises as ``shared.recipes.scoring_api.UpdatableScorer.with_items``.
        """
        updated = cast(UpdatableScorer, self._scorer).with_items(items, on_block)
        return (
            self
            if updated is self._scorer
            else LoadedModel(updated, self.recipe, self.group, self.datasets, self.purges)
        )

    def find_place(self, item_id: str) -> int | None:
        """Return the place of an item in ``item_ids``; None for an unknown item."""
        return find_place(self.item_ids, item_id)

    def score_items(self, query: Query) -> npt.NDArray[np.float32]:
        """float32[I]: score a query. Requests of a process run one at a time, and so does their scoring.

        The scoring of a large catalogue waits for memory, and requests then run in parallel: from SIDE_BY_SIDE items as
        many as there are cores, from TOGETHER items all that have arrived, several of which share a pass over the
        weights (``shared.recipes.hrnn.serving.shared_pass``).

        Requests/s, and 99th percentile in ms, of aws-hrnn (hidden 128) over 8 connections on 2 cores:

            items      one by one by cores   all
            50,000     489   19     675   17     552   25
            100,000    266   44     537   23     345   44
            200,000    122   80     214   47     249   55
            300,000     88   94     154   60     192   70
        """
        with self._take_turn():
            return self._scorer.scores(query)

    def explain_scores(self, query: Query) -> ExplainedScores:
        """Score a query, with the bounds of approximate scores, and with reasons where the recipe gives them."""
        if not hasattr(self._scorer, "explained"):
            scores = self.score_items(query)
            return ExplainedScores(scores, scores, popular=False)
        with self._take_turn():
            found = cast(ExplainingScorer, self._scorer).explained(query)
        return self._drop_unused_reasons(found)

    def find_candidates(
        self, queries: Sequence[Query], sought: Sequence[SoughtItems], count: int
    ) -> Iterator[CandidateItems]:
        """Yield ``BlockScorer.find_candidates``, for a batch job: requests would wait for the whole block.

        Recipes that score one query at a time do so here too.
        """
        if not hasattr(self._scorer, "find_candidates"):
            yield from (CandidateItems(None, self.explain_scores(query)) for query in queries)
            return
        for places, found in cast(BlockScorer, self._scorer).find_candidates(queries, sought, count):
            yield CandidateItems(places, self._drop_unused_reasons(found))

    def get_stored_history(self, user_id: str) -> Sequence[Past]:
        """Return the events of ``get_history`` for a query of a block, which reads them faster; nothing keeps them."""
        if not hasattr(self._scorer, "stored_history"):
            return self._scorer.history(user_id)
        return cast(BlockScorer, self._scorer).stored_history(user_id)

    def count_block_bytes(self, query: Query) -> int:
        """Return the bytes of memory that a query takes in a block at most, without its masks."""
        if not hasattr(self._scorer, "count_block_bytes"):
            return 0
        return cast(BlockScorer, self._scorer).count_block_bytes(query)

    def _drop_unused_reasons(self, found: ExplainedScores) -> ExplainedScores:
        return (
            found
            if self.recipe.serving.gives_reasons
            else ExplainedScores(found.scores, found.scores, popular=False, approximate=found.approximate)
        )

    def _take_turn(self) -> AbstractContextManager[object]:
        items = len(self.item_ids)
        return nullcontext() if items < SIDE_BY_SIDE else step_aside(computing=items < TOGETHER)


def find_place(item_ids: Sequence[str], item_id: str) -> int | None:
    """Return the place of an item among the sorted ids; None for an unknown item."""
    if isinstance(item_ids, SortedIds):
        return item_ids.find(item_id)
    place = bisect_left(item_ids, item_id)
    return place if place < len(item_ids) and item_ids[place] == item_id else None


class ModelCache:
    """Loads each model once, and keeps it until no endpoint needs it."""

    def __init__(self, reader: ResourceReader, artifacts: Artifacts) -> None:
        self._reader = reader
        self._artifacts = artifacts
        self._models: dict[str, LoadedModel] = {}
        self._loading = threading.Lock()

    def load_model(self, version_arn: str) -> LoadedModel:
        """Return the model of a solution version or recommender version. Raises NotDeployable."""
        held = self.get_model(version_arn)
        if held is not None:
            return held
        with self._loading:
            if version_arn not in self._models:
                self._models[version_arn] = self._load(version_arn)
            return self._models[version_arn]

    def _load(self, version_arn: str) -> LoadedModel:
        version = self._reader.records.get(version_arn)
        recipe = recipes.find_recipe(version.body["recipeArn"]) if version else None
        if version is None or recipe is None:
            raise NotDeployable(f"The version {version_arn} does not exist any more, or its recipe does not.")
        group = version.body["datasetGroupArn"]
        datasets = {dataset_type: build_dataset_arn(group, dataset_type, self._reader) for dataset_type in TYPES}
        while True:
            purges, digest = count_purges(group, self._reader.records), self._find_digest(version_arn)
            try:
                scorer = self._open_scorer(version_arn, recipe)
            except NotDeployable:
                if digest == self._find_digest(version_arn):
                    raise
                continue
            # A deletion of users may have swapped the artifact while it was opened, some files before and some after.
            if digest == self._find_digest(version_arn):
                return LoadedModel(scorer, recipe, group, datasets, purges)

    def _find_digest(self, version_arn: str) -> str | None:
        try:
            return self._artifacts.compute_digest(version_arn)
        except OSError:
            return None

    def _open_scorer(self, version_arn: str, recipe: Recipe) -> Scorer:
        scoring: Any = importlib.import_module(f"{recipe.module}.scoring")
        try:
            scorer: Scorer = scoring.Scorer.load(self._artifacts.open_artifact(version_arn))
        except (ArtifactDamaged, ArtifactError) as error:
            raise NotDeployable(f"{error} Train again.") from error
        except Exception as error:
            # Unexpected contents, or too little memory: they fail one campaign and must not end the deployer.
            log.exception("loading a model failed", version=version_arn)
            raise NotDeployable(
                f"The model of {version_arn} can't be loaded ({type(error).__name__}). {LOG_SAYS_MORE}"
            ) from error
        return scorer

    def reload_outdated(self, purges: Mapping[str, int], prepare: Callable[[LoadedModel], None]) -> None:
        """Load again the models of groups from which users were deleted since; ``purges`` holds the groups' counts.

        ``prepare`` is called with each model before requests get it. Raises NotDeployable; the model stays then.
        """
        for version_arn, held in list(self._models.items()):
            if held.purges < purges.get(held.group, 0):
                with self._loading:
                    fresh = self._load(version_arn)
                prepare(fresh)
                # A model that no endpoint needs any more has been dropped in the meantime.
                if version_arn in self._models:
                    self._models[version_arn] = fresh

    def get_model(self, version_arn: str) -> LoadedModel | None:
        """Return the model if it is in memory."""
        return self._models.get(version_arn)

    def list_models(self) -> list[tuple[str, LoadedModel]]:
        """Return the versions and models in memory."""
        return list(self._models.items())

    def replace_model(self, version_arn: str, old: LoadedModel, new: LoadedModel) -> None:
        """Put an updated model in the place of the one that it was made from, if that is still in memory."""
        with self._loading:
            if self._models.get(version_arn) is old:
                self._models[version_arn] = new

    def list_group_models(self, group: str) -> list[LoadedModel]:
        """Return the models in memory that were trained on a dataset group."""
        return [model for model in list(self._models.values()) if model.group == group]

    def keep_only(self, needed: set[str]) -> None:
        """Drop the models of all versions that are not ``needed``."""
        for version_arn in self._models.keys() - needed:
            self._models.pop(version_arn, None)
