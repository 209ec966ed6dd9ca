"""Similar-Items: vectors from what stands near what, and from metadata where there is little of that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from shared.data.training.training_data import TrainingData
from shared.recipes import RECIPES
from shared.recipes.artifact import WEIGHTS
from shared.recipes.distribution import NEVER
from shared.recipes.hrnn.types import FeatureBags
from shared.recipes.scoring_api import ArtifactError, Query
from shared.recipes.similar_items import fit, trainer, training
from shared.recipes.similar_items.neighbor_sampling import WINDOW, NeighborSampler
from shared.recipes.similar_items.network import SimilarItemsConfig, SimilarItemsNetwork, compute_losses
from shared.recipes.similar_items.scoring import Scorer
from shared.recipes.similar_items.trainer import has_several_takes
from shared.recipes.similar_items.vector_search import ItemVectors
from shared.recipes.training_api import TrainingProgress, TrainingStopped
from tests.recipes.runs import NDCG, make_context, train
from tests.recipes.synthetic import histories_of, training_data, walks

SIMILAR = RECIPES["aws-similar-items"]
GENRES, FILMS, COLD = 4, 10, 2


def shelves(users: int = 120, seed: int = 0) -> TrainingData:
    """Everybody watches films of one genre, and the last COLD films of each genre were watched by nobody."""
    rng = np.random.default_rng(seed)
    names = [f"{genre}{film}" for genre in range(GENRES) for film in range(FILMS)]
    sequences = {
        f"u{user:03}": [
            (f"{user % GENRES}{film}", 1_000_000 + 60 * step)
            for step, film in enumerate(rng.permutation(FILMS - COLD)[:6])
        ]
        for user in range(users)
    }
    items = [{"GENRE": f"genre {name[0]}"} for name in names]
    return training_data(histories_of(sequences, unseen=tuple(names)), items=items)


def genres(scorer: Scorer, item: str, count: int = FILMS - COLD - 1) -> list[str]:
    """The genres of what is most like the item."""
    scores = scorer.scores(Query(now=0.0, item_id=item))
    assert scores[scores >= 0].sum() == pytest.approx(1.0, abs=1e-5)
    assert scores[scorer.item_ids.index(item)] == NEVER
    return [scorer.item_ids[place][0] for place in np.argsort(-scores)[:count]]


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    return Scorer.load(train(tmp_path_factory.mktemp("shelves"), shelves(), SIMILAR)[1])


@pytest.mark.parametrize("item", ["00", "17", "35"])
def test_items_that_users_take_together_are_alike(scorer: Scorer, item: str) -> None:
    assert set(genres(scorer, item)) == {item[0]}


@pytest.mark.parametrize("item", ["08", "29"])
def test_an_item_that_nobody_took_is_like_those_of_its_metadata(scorer: Scorer, item: str) -> None:
    assert set(genres(scorer, item)) == {item[0]}


def test_an_item_that_nobody_took_is_recommended_by_its_metadata(scorer: Scorer) -> None:
    scores = scorer.scores(Query(now=0.0, item_id="20"))
    cold = [scorer.item_ids.index(f"{genre}{FILMS - 1}") for genre in range(GENRES)]
    assert scores[cold].argmax() == 2
    assert scores[cold[2]] > 3 * np.delete(scores[cold], 2).max()


def test_an_unknown_item_is_answered_what_is_popular(scorer: Scorer) -> None:
    popular = scorer.scores(Query(now=0.0, item_id="?"))
    np.testing.assert_array_equal(popular, scorer.scores(Query(now=0.0)))
    assert popular.sum() == pytest.approx(1.0, abs=1e-5)
    assert popular[scorer.item_ids.index("09")] == 0.0
    assert popular[scorer.item_ids.index("00")] > 0.0
    assert len(scorer.history("u000")) == 6


def test_without_metadata_it_learns_what_comes_near_what(tmp_path: Path) -> None:
    """Everyone mostly goes on to the next item, so an item's like are the items beside it."""
    trained, artifact = train(tmp_path, walks(users=120), SIMILAR, retrain_on_all_users=True)
    assert trained.metrics[NDCG] > 1.5 * trained.baseline[NDCG]
    scorer = Scorer.load(artifact)
    best = np.argsort(-scorer.scores(Query(now=0.0, item_id="i20")))[:4]
    assert {int(place) for place in best} <= set(range(20 - WINDOW, 20 + WINDOW + 1))


def test_the_dimensions_are_those_of_the_vectors(tmp_path: Path) -> None:
    for number, (ids, metadata) in enumerate(((30, 30), (40, 30), (30, 50))):
        folder = tmp_path / str(number)
        (folder / "artifact").mkdir(parents=True)
        parameters = SIMILAR.resolve_parameters(None) | {
            "item_id_hidden_dim": str(ids),
            "item_metadata_hidden_dim": str(metadata),
        }
        training.train(
            shelves(40),
            SIMILAR,
            parameters,
            make_context(folder, artifact=folder / "artifact", retrain_on_all_users=False),
        )
        vectors = load_file(folder / "artifact" / WEIGHTS)["vectors"]
        assert vectors.shape == (GENRES * FILMS, ids + metadata + 1)
        assert (np.abs(vectors).max(0) > 0).all()


@pytest.mark.parametrize("name", ["item_id_hidden_dim", "item_metadata_hidden_dim"])
def test_the_dimensions_are_set_by_tuning_alone(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is set by HPO alone"):
        SIMILAR.resolve_parameters({"algorithmHyperParameters": {name: "64"}})

    def tuned(**bounds: Any) -> dict[str, str]:
        ranges = {"integerHyperParameterRanges": [{"name": name, **bounds}]}
        return SIMILAR.resolve_parameters({"hpoConfig": {"algorithmHyperParameterRanges": ranges}})

    assert tuned(minValue=40, maxValue=60)[name] == "100"
    with pytest.raises(ValueError, match=f"{name} needs both minValue and maxValue"):
        tuned(minValue=40)
    with pytest.raises(ValueError, match=r"must lie in \[30, 200\]"):
        tuned(minValue=10, maxValue=60)


def test_the_discount_takes_popularity_out_of_the_likeness() -> None:
    """Item 1 is a little like item 0 and popular, item 2 much like it and not popular."""
    vectors = np.array([[1, 0, 0], [0.2, 0, 1], [0.9, 0.1, 0]], np.float32)
    at_0, at_half, at_1 = (ItemVectors(vectors, discount).compute_scores(0) for discount in (0.0, 0.5, 1.0))
    assert at_0.argmax() == 1
    assert at_1.argmax() == 2
    assert at_0[1] > at_half[1] > at_1[1]
    np.testing.assert_allclose(at_0[1:], np.exp([1.2, 0.9]) / np.exp([1.2, 0.9]).sum(), rtol=1e-5)


def test_the_discount_acts(tmp_path: Path) -> None:
    """Everybody has seen the hit, which nobody would call like anything."""
    data = shelves(80)
    hits = {
        user: [*((data.histories.item_ids[item], int(at)) for item, at in events), ("hit", 2_000_000)]
        for user, events in (
            (user, zip(data.histories.items[slice_], data.histories.timestamps[slice_], strict=True))
            for user, slice_ in (
                (name, slice(*data.histories.offsets[number : number + 2].tolist()))
                for number, name in enumerate(data.histories.user_ids)
            )
        )
    }
    shown = {}
    for discount in ("0.0", "1.0"):
        parameters = {"popularity_discount_factor": discount}
        scorer = Scorer.load(train(tmp_path / discount, histories_of(hits), SIMILAR, parameters=parameters)[1])
        shown[discount] = scorer.scores(Query(now=0.0, item_id="00"))[scorer.item_ids.index("hit")]
    assert shown["0.0"] > 2 * shown["1.0"]


def test_a_stranger_is_the_sum_of_its_features() -> None:
    network = SimilarItemsNetwork(SimilarItemsConfig(items=3, id_hidden=4, metadata_hidden=2, features=5))
    bags = FeatureBags(torch.tensor([0, 2, 2, 3]), torch.tensor([1, 4, 0]), torch.tensor([0.5, 0.5, 1.0]))
    x_CD = network(torch.arange(3), torch.tensor([1.0, 1.0, 0.0]), bags)
    assert x_CD.shape == (3, 4 + 2 + 1)
    assert network.features is not None
    torch.testing.assert_close(x_CD[2], torch.cat([torch.zeros(4), network.features.weight[0]]))
    torch.testing.assert_close(x_CD[0, :4], network.ids.weight[0])
    torch.testing.assert_close(x_CD[0, 4:6], network.features.weight[[1, 4], :2].mean(0))
    torch.testing.assert_close(x_CD[1, 4:6], torch.zeros(2))


def test_the_loss_is_the_cross_entropy_over_the_others() -> None:
    torch.manual_seed(0)
    x_CD = torch.randn(5, 4)
    own = torch.eye(5, dtype=torch.bool)[:2]
    targets, counts = torch.tensor([[1, 3, 0], [4, 4, 2]]), torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    loss_R = compute_losses(x_CD[:2], x_CD, torch.zeros(5), own, targets, counts)
    logits = (x_CD[:2, :-1] @ x_CD[:, :-1].T + x_CD[:, -1]).masked_fill(own, -torch.inf)
    logp = logits.log_softmax(1)
    torch.testing.assert_close(loss_R, -torch.stack([logp[0, [1, 3]].mean(), logp[1, [4, 4, 2]].mean()]))
    assert compute_losses(x_CD[:2], x_CD, torch.zeros(5), own, targets, torch.zeros(2, 3)).tolist() == [0.0, 0.0]


def test_what_is_near_is_of_the_same_user_and_within_the_window() -> None:
    histories = histories_of(
        {
            "a": [(f"a{n:02}", n) for n in range(12)],
            "b": [("b00", 1), ("b00", 2), ("b01", 3)],
            "c": [("a00", 1), ("c00", 2)],
        }
    )
    near = NeighborSampler(histories, np.array([0, 1]))
    assert near.counts.tolist() == [1] * 12 + [2, 1, 0]
    seeds = np.array([0, 6, 12])
    drawn = near.draw_pairs(seeds, 400, np.random.default_rng(0))
    met = [set(row[counts].tolist()) for row, counts in zip(drawn.items, drawn.counts, strict=True)]
    assert met == [set(range(1, WINDOW + 1)), set(range(6 - WINDOW, 6 + WINDOW + 1)) - {6}, {13}]


def test_the_same_seed_gives_the_same_model(tmp_path: Path) -> None:
    one, again, other = (
        load_file(train(tmp_path / str(n), shelves(60), SIMILAR, seed=seed)[1] / WEIGHTS)["vectors"]
        for n, seed in enumerate((1, 1, 2))
    )
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-3


def test_it_says_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.recipes.progress.ProgressReporter.is_due", lambda _: True)
    said: list[TrainingProgress] = []
    trained, _ = train(tmp_path, shelves(), SIMILAR, progress=said.append, retrain_on_all_users=True)
    epochs = [progress.epoch for progress in said if progress.phase == "training"]
    assert epochs == sorted(epochs)
    assert next(progress.phase for progress in said if progress.phase != "training") == "evaluating"
    assert said[-1].phase == "writing"
    assert said[-1].epoch == said[-1].epochs == trained.epochs
    assert said[-1].loss is not None


@pytest.mark.parametrize("phase", ["training", "evaluating", "retraining"])
def test_it_goes_on_where_it_was_stopped(tmp_path: Path, phase: str) -> None:
    said: list[TrainingProgress] = []
    # Every progress counts here, however short the epochs.
    asked = {"retrain_on_all_users": True, "checkpoint_seconds": 0.0}
    whole = train(tmp_path / "whole", shelves(), SIMILAR, **asked)[1]  # type: ignore[arg-type]
    epochs: list[int] = []

    def stop() -> bool:
        return bool(said) and said[-1].phase == phase and len(epochs) >= (4 if phase == "training" else 0)

    fitted = fit.VectorFit.run_epoch

    def counted(self: fit.VectorFit, number: int, *args: Any) -> float:
        epochs.append(number)
        return fitted(self, number, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit.VectorFit, "run_epoch", counted)
        patch.setattr("shared.recipes.progress.ProgressReporter.is_due", lambda _: True)
        with pytest.raises(TrainingStopped):
            train(tmp_path / "parts", shelves(), SIMILAR, should_stop=stop, progress=said.append, **asked)  # type: ignore[arg-type]
        before = len(epochs)
        parts = train(tmp_path / "parts", shelves(), SIMILAR, **asked)[1]  # type: ignore[arg-type]
    assert before > 0
    assert 0 not in epochs[before : -fit.RETRAINING_EPOCHS]
    for name in load_file(whole / WEIGHTS):
        np.testing.assert_array_equal(load_file(parts / WEIGHTS)[name], load_file(whole / WEIGHTS)[name])


def test_a_large_catalogue_is_learnt_over_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "FULL_SOFTMAX_ITEMS", 10)
    monkeypatch.setattr("shared.recipes.hrnn.candidates.FULL_SOFTMAX_ITEMS", 10)
    chosen: list[int] = []
    choose = fit.create_candidate_sampler

    def counted(counts: torch.Tensor, *, only_taken: bool) -> Any:
        choice = choose(counts, only_taken=only_taken, negatives=5, full=10)

        def sample(targets: torch.Tensor) -> Any:
            candidates = choice(targets)
            assert candidates is not None
            chosen.append(len(candidates.ids))
            return candidates

        return sample

    monkeypatch.setattr(fit, "create_candidate_sampler", counted)
    _, artifact = train(tmp_path, shelves(), SIMILAR)
    assert set(genres(Scorer.load(artifact), "00")) == {"0"}
    assert max(chosen) <= GENRES * (FILMS - COLD)


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    _, artifact = train(tmp_path, shelves(40), SIMILAR)
    (artifact / WEIGHTS).write_bytes(bytes((artifact / WEIGHTS).stat().st_size))
    with pytest.raises(ArtifactError, match=r"model\.safetensors cannot be read"):
        Scorer.load(artifact)


def test_validation_users_of_one_item_each_end_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They foretell nothing: no epoch would ever be better than the first."""
    monkeypatch.setattr(trainer, "WITHOUT_VALIDATION", 3)
    histories = histories_of({f"u{n:03}": [(f"i{n % 4}", t) for t in range(2)] for n in range(120)})
    assert not has_several_takes(histories, np.arange(120))
    assert train(tmp_path, histories, SIMILAR)[0].epochs == 3
    histories = histories_of({"a": [("x", 0), ("x", 1)], "b": [("x", 0), ("y", 1)]})
    assert [has_several_takes(histories, np.array(users, int)) for users in ([], [0], [1])] == [False, False, True]
