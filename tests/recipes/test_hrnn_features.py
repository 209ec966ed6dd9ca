"""What is known of items, users and moments acts, and is learnt; items that nobody took are recommended by it."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from shared.data.training.training_data import TrainingData
from shared.recipes import RECIPES
from shared.recipes.hrnn.config import HrnnConfig
from shared.recipes.hrnn.network import HrnnNetwork
from shared.recipes.hrnn.scoring import Scorer
from shared.recipes.hrnn.trainer import ID_DROPOUT, HrnnTrainer
from shared.recipes.hrnn.types import FeatureBags
from shared.recipes.scoring_api import Past, Query
from tests.recipes.networks import CELLS, RICH, learnt, shaken, some_bags, some_events, some_known, some_pairs, took
from tests.recipes.runs import make_task, train
from tests.recipes.synthetic import training_data, walks

H = 32


def of_items(form: HrnnConfig = RICH) -> tuple[HrnnNetwork, FeatureBags]:
    """A network with features of items, in the mode of evaluation; every seventh item is cold."""
    return shaken(form).eval(), some_bags(form.items, form.item_features)


def test_an_item_is_its_vector_and_its_features() -> None:
    net, bags = of_items()
    assert net.of_item is not None
    v = net.get_item_embeddings()
    for item in (1, 2, 3, 8):
        features = slice(int(bags.offsets[item]), int(bags.offsets[item + 1]))
        said = (bags.weights[features, None] * net.of_item.weight[bags.values[features]]).sum(0)
        own = torch.cat([net.item.weight[item], net.bias[item : item + 1]])
        torch.testing.assert_close(v[item], own + said)
    torch.testing.assert_close(net.get_item_embeddings(torch.tensor([8, 3, 8])), v[[8, 3, 8]])


def test_a_cold_item_is_its_features_and_a_vector_that_cold_items_share() -> None:
    net, _ = of_items()
    before = net.get_item_embeddings().detach()
    with torch.no_grad():
        net.item.weight[:-1] += 1.0
        net.bias[:-1] += 1.0
    changed = (net.get_item_embeddings() - before).abs().amax(1) > 1e-6
    assert changed.tolist() == [item % 7 != 0 for item in range(40)]
    assert net.of_item is not None
    before = net.get_item_embeddings().detach()
    with torch.no_grad():
        net.of_item.weight[-1] += 1.0
    changed = (net.get_item_embeddings() - before).abs().amax(1) > 1e-6
    assert changed.tolist() == [item % 7 == 0 for item in range(40)]


def test_start_is_no_item_and_has_no_features() -> None:
    net, _ = of_items()
    start = torch.cat([net.item.weight[40], net.bias[40:]])
    torch.testing.assert_close(net.get_item_embeddings(torch.tensor([40]))[0], start)
    net.train()
    net.id_dropout = 1.0
    torch.testing.assert_close(net.get_item_embeddings(torch.tensor([40, 3]))[0], start)


def test_in_training_some_items_are_treated_as_cold() -> None:
    net, _ = of_items()
    known = net.get_item_embeddings()
    net.id_dropout = 0.25
    assert torch.equal(net.get_item_embeddings(), known)
    net.train()
    torch.manual_seed(0)
    others = torch.arange(40) % 7 != 0
    changed = torch.stack([(net.get_item_embeddings() != known).any(1) for _ in range(200)])
    assert changed[:, others].float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert not changed[:, ~others].any()


@pytest.mark.parametrize(
    ("recipe", "cold", "id_dropout", "taken_alone"),
    [("aws-hrnn-metadata", [], 0.0, False), ("aws-user-personalization", [0, 3], ID_DROPOUT, True)],
)
def test_a_recipe_that_knows_all_its_items_has_no_cold_items(
    recipe: str, cold: list[int], id_dropout: float, *, taken_alone: bool
) -> None:
    """Items are described by their features and by themselves, also those that only users who test took."""
    data = training_data(walks(users=4, events=6, items=5), items=[{"GENRE": "ab"[item % 2]} for item in range(5)])
    learner = HrnnTrainer(make_task(data, RECIPES[recipe], {}), 24)
    candidates = learner.create_sampler(np.array([0, 3, 1, 0, 2]))(torch.tensor([1]))
    assert torch.nonzero(cast(Tensor, learner.network.cold_items)).view(-1).tolist() == cold
    assert learner.network.id_dropout == id_dropout
    assert (candidates is not None) == taken_alone


def test_an_item_that_is_not_cold_any_more_starts_from_the_vector_that_cold_items_share() -> None:
    net, bags = of_items()
    before = net.get_item_embeddings().detach()
    net.set_item_features(bags, torch.zeros(40, dtype=torch.bool), 0.0)
    torch.testing.assert_close(net.get_item_embeddings(), before)
    with torch.no_grad():
        net.item.weight[7] += 1.0
    assert not torch.allclose(net.get_item_embeddings()[7], before[7])


@pytest.mark.parametrize("cell", CELLS)
def test_folded_it_is_the_same_network(cell: str) -> None:
    form = replace(RICH, cell=cell)  # type: ignore[arg-type]
    net, _ = of_items(form)
    net.train()
    net.id_dropout = 0.5
    folded = net.fold_features()
    assert net.training
    assert folded.config == replace(form, item_features=0)
    assert not folded.training
    assert not any(name.startswith("of_item") for name in folded.state_dict())
    net.eval()
    events = some_events(form)
    x, state = net(events, net.create_state(5))
    x_folded, state_folded = folded(events, folded.create_state(5))
    torch.testing.assert_close(x_folded, x, rtol=0, atol=1e-5)
    torch.testing.assert_close(state_folded, state, rtol=0, atol=1e-5)
    x, rows = x.flatten(0, 1), len(x.flatten(0, 1))
    contexts = some_bags(rows, form.context_features)
    pairs, known = some_pairs(form, rows), some_known(rows)
    torch.testing.assert_close(
        folded.compute_log_probs(folded.compute_query(x, torch.zeros(rows), contexts), pairs, known),
        net.compute_log_probs(net.compute_query(x, torch.zeros(rows), contexts), pairs, known),
        rtol=0,
        atol=1e-4,
    )


def test_folding_leaves_the_network_as_it_was() -> None:
    net, _ = of_items()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net.fold_features()
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_a_network_without_features_folds_into_itself() -> None:
    net = shaken(replace(RICH, item_features=0))
    folded = net.fold_features()
    for name, tensor in net.state_dict().items():
        assert torch.equal(folded.state_dict()[name], tensor)


# What features say, on users who were not learnt from

STEPS = 40
USERS = 48 * STEPS + 16


def loss_of(data: TrainingData, cell: str = "linear", first: int = 0, steps: int = STEPS) -> float:
    return float(learnt(data, cell, steps=steps, first=first).loss_TB[first:].mean())


@pytest.mark.parametrize("cell", CELLS)
def test_it_learns_what_users_features_say(cell: str) -> None:
    """The club tells which of two items come first; no event does."""
    rng = np.random.default_rng(0)
    clubs = rng.integers(0, 2, USERS)
    data = took([[(int(club), 0), (2, 10)] for club in clubs], 3)
    known = training_data(data, users=[{"club": ("red", "blue")[club], "age": float(club)} for club in clubs])
    assert loss_of(known, cell) < 0.1
    assert loss_of(training_data(data), cell) > 0.3  # half of log 2


@pytest.mark.parametrize("cell", CELLS)
def test_it_learns_what_the_context_of_a_request_says(cell: str) -> None:
    """It tells which of two items comes, of which there are two for each step."""
    rng = np.random.default_rng(0)
    devices = rng.integers(0, 2, (USERS, 4))
    data = took([[(2 * t + int(device), 10 * t) for t, device in enumerate(of_user)] for of_user in devices], 9)
    known = training_data(data, contexts=[{"device": ("tv", "phone")[device]} for device in devices.flatten()])
    assert loss_of(known, cell) < 0.1
    assert loss_of(training_data(data), cell) > 0.6


def test_it_learns_what_items_features_say() -> None:
    """Of 2,000 items in 8 genres everyone takes those of one genre: an item tells little and its genre much."""
    rng = np.random.default_rng(0)
    genres = rng.integers(0, 8, 2000)
    sequences = []
    for _ in range(48 * 120 + 16):
        of_genre = np.flatnonzero(genres == rng.integers(8))
        sequences.append([(int(item), 10 * t) for t, item in enumerate(rng.choice(of_genre, 6, replace=False))])
    data = took(sequences, 2000)
    known = training_data(data, items=[{"genre": f"genre{genre}|all"} for genre in genres])
    with_genres, without = (loss_of(each, first=1, steps=120) for each in (known, training_data(data)))
    assert with_genres < np.log(2000 / 8) + 0.5
    assert with_genres < without - 0.5


# Items that nobody took

GENRES, WARM, COLD = 5, 12, 24


def genre_of(item: int) -> int:
    return item % GENRES


def with_cold_items() -> TrainingData:
    """Everyone stays in one genre, and the last two fifths of the items were never taken by anybody."""
    rng = np.random.default_rng(0)
    sequences = []
    for _ in range(150):
        favourite = rng.integers(GENRES)
        items = favourite + GENRES * rng.integers(0, WARM, 16)
        times = 1_700_000_000 + np.cumsum(rng.integers(1, 600, 16))
        sequences.append(list(zip(items.tolist(), times.tolist(), strict=True)))
    items = GENRES * (WARM + COLD)
    described = [{"genre": f"genre{genre_of(item)}", "price": float(item % 3)} for item in range(items)]
    return training_data(took(sequences, items), items=described)


@pytest.fixture(scope="module")
def cold_started(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    data = with_cold_items()
    _, artifact = train(tmp_path_factory.mktemp("cold"), data, RECIPES["aws-hrnn-coldstart"])
    return Scorer.load(artifact)


def test_items_never_taken_are_recommended_from_their_features(cold_started: Scorer) -> None:
    """Of the cold items those of the user's genre come first, where chance puts a fifth of them."""
    cold = np.arange(GENRES * WARM, GENRES * (WARM + COLD))
    right = []
    for genre in range(GENRES):
        history = [Past(f"i{genre + GENRES * n:04}", 1_700_100_000.0 + 300 * n) for n in (3, 1, 4, 5)]
        scores = cold_started.scores(Query(user_id="new", history=history, now=1_700_101_700.0))
        assert len(scores) == GENRES * (WARM + COLD)
        first = cold[np.argsort(-scores[cold])][:COLD]
        right.append(np.mean([genre_of(item) == genre for item in first]))
        # Among all items, they come before the warm ones of other genres, popular as these are.
        of_genre = np.array([genre_of(item) == genre for item in range(len(scores))])
        assert scores[cold][of_genre[cold]].mean() > scores[: cold[0]][~of_genre[: cold[0]]].mean()
    assert np.mean(right) > 0.8


def test_a_history_with_an_item_never_taken_before_is_read_by_its_features(cold_started: Scorer) -> None:
    warm = np.arange(GENRES * WARM)
    right = []
    for newest in range(GENRES * WARM, GENRES * (WARM + COLD)):
        scores = cold_started.scores(
            Query(user_id="new", history=[Past(f"i{newest:04}", 1_700_100_000.0)], now=1_700_100_300.0)
        )
        best = warm[np.argsort(-scores[warm])][:5]
        right.append(np.mean([genre_of(int(item)) == genre_of(newest) for item in best]))
    assert np.mean(right) > 0.6
