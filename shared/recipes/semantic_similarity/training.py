"""Training of Semantic-Similarity: learn a vectorizer from the texts, embed all items, measure. No torch, no GPU.

The vectors are written into the workspace as they are made, so that a second attempt goes on after the last block: a
sentence encoder takes hours for a large catalogue.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared.data.arrays.histories import DataRefused, Histories, TooLittleData
from shared.data.arrays.item_texts import ItemTexts
from shared.data.training.training_data import TrainingData
from shared.recipes.artifact import ModelDescription, summarize_training, write_artifact
from shared.recipes.declaration import Recipe
from shared.recipes.distribution import find_best_items
from shared.recipes.evaluation import Split, compute_report, evaluate_recommender, recommend_related
from shared.recipes.progress import ProgressReporter
from shared.recipes.ranking_metrics import LONGEST
from shared.recipes.semantic_similarity.catalogue import TrainedItems, compute_digest
from shared.recipes.semantic_similarity.lexical import MOST_SAMPLED, learn_vectorizer
from shared.recipes.semantic_similarity.ranking import rank_similar
from shared.recipes.semantic_similarity.sentence_encoder import SentenceVectorizer, find_encoder_files
from shared.recipes.semantic_similarity.vectorizers import Vectorizer, open_vectorizer
from shared.recipes.training_api import Trained, TrainingContext

BLOCK = 1024
SEEDS = 1000
"""Items whose lists tell the coverage, where there are too few interactions to measure by."""


def train(
    data: TrainingData,
    recipe: Recipe,
    parameters: Mapping[str, str],
    context: TrainingContext,
) -> Trained:
    """``shared.recipes.training_api.Train``."""
    started = time.monotonic()
    histories = data.histories
    reporter = ProgressReporter.for_training(context, epochs=1)
    reporter.report("training", 0)
    texts = check_texts(data)
    folder = context.workspace / "semantic"
    vectorizer = prepare_vectorizer(texts, len(histories.item_ids), folder, context, reporter)
    vectors_ID = embed_items(vectorizer, texts, len(histories.item_ids), folder, reporter)
    reporter.report("evaluating", 1)
    metrics, baseline, report, test_users = measure_vectors(vectors_ID, histories, context.seed, reporter)
    reporter.report("writing", 1)
    for name in ("vectors.npy", "digests.npy"):
        shutil.copyfile(folder / name, context.artifact / name)
    shutil.copytree(folder / "vectorizer", context.artifact / "vectorizer")
    counts_I = np.bincount(histories.items, minlength=len(histories.item_ids))
    weights_I = counts_I if counts_I.any() else np.ones_like(counts_I)
    TrainedItems.save(context.artifact, counts_I, find_creation_times(data))
    trained = Trained(
        metrics=metrics,
        baseline=baseline,
        epochs=1,
        seconds=round(time.monotonic() - started, 3),
        report=report,
    )
    described = ModelDescription(
        recipe=recipe.name,
        parameters=parameters,
        popularity=weights_I / weights_I.sum(),
        form={"dimensions": vectorizer.dimensions},
        report=summarize_training(trained, histories, test_users),
    )
    write_artifact(context.artifact, data, described)
    return trained


def check_texts(data: TrainingData) -> ItemTexts:
    """Return the texts of the items. Raises DataRefused where no column has any."""
    if data.item_texts is None or not data.item_texts.columns:
        raise DataRefused(
            "aws-semantic-similarity needs Items with texts: a string column, best one with itemName and one with "
            "textual, that trainingDataConfig does not exclude."
        )
    return data.item_texts


def prepare_vectorizer(
    texts: ItemTexts, items: int, folder: Path, context: TrainingContext, reporter: ProgressReporter
) -> Vectorizer:
    """Return the vectorizer of an earlier attempt, or make and save it."""
    target = folder / "vectorizer"
    if target.exists():
        return open_vectorizer(target)
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / "vectorizer.draft"
    shutil.rmtree(draft, ignore_errors=True)
    _make_vectorizer(texts, items, context, reporter).save(draft)
    draft.rename(target)
    # Items are embedded by the numbers as they were saved, at training and later on.
    return open_vectorizer(target)


def _make_vectorizer(texts: ItemTexts, items: int, context: TrainingContext, reporter: ProgressReporter) -> Vectorizer:
    if context.options.sentence_encoder:
        return SentenceVectorizer(texts.columns, *find_encoder_files(context.options.sentence_encoder))
    sample = np.arange(items)
    if items > MOST_SAMPLED:
        sample = np.sort(np.random.default_rng(context.seed).choice(items, MOST_SAMPLED, replace=False))
    on_block = partial(reporter.report_if_due, "training", 0)
    return learn_vectorizer(texts.columns, _iter_rows(texts, sample), seed=context.seed, on_block=on_block)


def _iter_rows(texts: ItemTexts, items: npt.NDArray[np.int64]) -> Iterator[list[str]]:
    for begin in range(0, len(items), BLOCK):
        yield from texts.read_rows(items[begin : begin + BLOCK].tolist())


def embed_items(
    vectorizer: Vectorizer, texts: ItemTexts, items: int, folder: Path, reporter: ProgressReporter
) -> npt.NDArray[np.float32]:
    """float32[I,D]: embed all items into vectors.npy and digests.npy, from where an earlier attempt has ended."""
    shape = (items, vectorizer.dimensions)
    if not (folder / "embedded").exists():
        np.lib.format.open_memmap(folder / "vectors.npy", mode="w+", dtype=np.float32, shape=shape).flush()
        np.save(folder / "digests.npy", np.zeros(items, np.int64))
        (folder / "embedded").write_text("0")
    vectors_ID = np.lib.format.open_memmap(folder / "vectors.npy", mode="r+")
    digests_I = np.lib.format.open_memmap(folder / "digests.npy", mode="r+")
    begin = int((folder / "embedded").read_text())
    reporter.start_clock(begin / max(items, 1))
    while begin < items:
        end = min(begin + BLOCK, items)
        rows = texts.read_rows(range(begin, end))
        on_block = partial(reporter.report_if_due, "training", begin / items)
        vectors_ID[begin:end] = vectorizer.embed(rows, on_block)
        digests_I[begin:end] = [compute_digest(cells) for cells in rows]
        vectors_ID.flush()
        digests_I.flush()
        _write_progress(folder / "embedded", end)
        begin = end
    return vectors_ID


def _write_progress(path: Path, items: int) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text(str(items))
    draft.rename(path)


def measure_vectors(
    vectors_ID: npt.NDArray[np.float32], histories: Histories, seed: int, reporter: ProgressReporter
) -> tuple[dict[str, float], dict[str, float], dict[str, object], int]:
    """Return metrics, those of popularity, the report and the number of test users.

    AWS's metrics need users with interactions. Where there are too few, coverage is all: the share of the items that
    stand in the lists of SEEDS items.
    """
    nothing = np.zeros(len(vectors_ID), np.float32)

    def score_item(item: int) -> npt.NDArray[np.float32]:
        reporter.report_if_due("evaluating", 1)
        return rank_similar(vectors_ID @ vectors_ID[item], item, None, nothing, nothing)

    try:
        split = Split.draw(histories, seed)
    except TooLittleData:
        seeds = np.random.default_rng(seed).permutation(len(vectors_ID))[:SEEDS]
        shown = [find_best_items(score_item(item), LONGEST, least=0.0) for item in seeds.tolist()]
        coverage = len(np.unique(np.concatenate(shown))) / len(vectors_ID)
        return {"coverage": round(coverage, 4)}, {}, {}, 0

    def recommend(events_Q: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
        return recommend_related(score_item, histories, events_Q, count)

    metrics, baseline = measured = evaluate_recommender(recommend, histories, split)
    return metrics, baseline, compute_report(recommend, histories, split, measured), len(split.test)


def find_creation_times(data: TrainingData) -> npt.NDArray[np.int64]:
    """int64[I]: CREATION_TIMESTAMP; where it is missing the first interaction, or without any the newest of all."""
    histories = data.histories
    latest = int(histories.timestamps.max(initial=0))
    first_I = np.full(len(histories.item_ids), np.iinfo(np.int64).max)
    np.minimum.at(first_I, histories.items, histories.timestamps)
    created_I = np.where(first_I == np.iinfo(np.int64).max, latest, first_I)
    if data.item_created is None:
        return created_I
    return np.where(data.item_created >= 0, data.item_created, created_I)
