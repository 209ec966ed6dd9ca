"""Training of the affinity of users to items: the HRNN's training, tested by the newest interactions of all users.

AWS: four fifths of each user's interactions are trained on, and the newest fifth tests. An item's segment is the 1 % of
all users for whom the network predicts it with the highest probability, before the interactions held out.
Shapes: U users, of whom Q are tested, E events, I items, N users of a segment, B users at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch

from shared.data.arrays.histories import Histories, TooLittleData
from shared.data.training.training_data import TrainingData
from shared.recipes import ranking_metrics
from shared.recipes.declaration import Recipe
from shared.recipes.evaluation import split_validation
from shared.recipes.hrnn import training
from shared.recipes.hrnn.batch_ranking import iter_log_probs
from shared.recipes.hrnn.plan import RETRAINING_EPOCHS, TrainingPlan
from shared.recipes.hrnn.trainer import HrnnTrainer, TrainingTask, complete_parameters
from shared.recipes.hrnn.training import TrainingResult
from shared.recipes.training_api import Trained, TrainingContext

TEST_SHARE = 0.2
SEGMENT_SHARE = 0.01

MOST_TESTED = 20_000
"""Users from which the evaluation forms segments, at most."""

MOST_PLACES = 2**26
"""Places in the segments of all items together, held in memory at 12 bytes each."""


def train(data: TrainingData, recipe: Recipe, parameters: Mapping[str, str], context: TrainingContext) -> Trained:
    """``shared.recipes.training_api.Train``."""
    return training.train(data, recipe, parameters, context, learn_affinity)


def learn_affinity(task: TrainingTask) -> TrainingResult:
    """``shared.recipes.hrnn.training.Learn``: learn from the older interactions of all users, then from all of them."""
    histories, options, reporter = task.data.histories, task.context.options, task.reporter
    users = np.flatnonzero(histories.in_training)
    rng = np.random.default_rng(task.context.seed)
    held_out = HeldOutEvents.split_histories(histories, users, rng)
    train_users, validation = split_validation(users, rng)
    more = RETRAINING_EPOCHS if options.retrain_on_all_users else 0
    events = int(histories.lengths[train_users].sum())
    reporter.expect_epochs(
        TrainingPlan.from_data(complete_parameters(task.parameters), events, len(histories.item_ids)).epochs + more
    )
    reporter.report("training", 0)
    trainer = HrnnTrainer(task, events, new_E=held_out.older)
    epochs = trainer.fit(train_users, validation, task.checkpoints / "training.ckpt", task.context.artifact / "logs")
    reporter.expect_epochs(epochs + more)
    reporter.report("evaluating", epochs)
    found, active = evaluate_segments(trainer, held_out)
    if options.retrain_on_all_users:
        trainer.streams.weights_E = torch.from_numpy(trainer.weights_E).to(trainer.device)
        epochs += trainer.continue_training(users, epochs, task.checkpoints / "retraining.ckpt")
    return TrainingResult(trainer, found, active, epochs, len(held_out.firsts))


class HeldOutEvents(NamedTuple):
    """The newest fifth of each user's interactions, rounded up; at least one interaction remains as input."""

    older: npt.NDArray[np.bool_]
    """[E] True for the events that are trained on. Users with one interaction are not tested."""
    firsts: npt.NDArray[np.int64]
    """[Q] The first event held out of each tested user."""
    taken: npt.NDArray[np.int64]
    """[P,2] The pairs of an item and a tested user (its place in Q) that were held out, each once."""

    @classmethod
    def split_histories(cls, histories: Histories, users: npt.NDArray[np.int64], rng: np.random.Generator) -> Self:
        """Hold out the newest events. Raises TooLittleData where no user has two interactions."""
        lengths, ends = histories.lengths, histories.offsets[1:]
        count_U = np.minimum(np.ceil(TEST_SHARE * lengths).astype(np.int64), lengths - 1)
        first_U = ends - count_U
        older_E: npt.NDArray[np.bool_] = np.arange(len(histories.items)) < np.repeat(first_U, lengths)
        tested = users[count_U[users] > 0]
        if not len(tested):
            raise TooLittleData("No user has 2 interactions: there is no user to test on.")
        of_an_item = max(MOST_PLACES // len(histories.item_ids), 1)
        most = min(MOST_TESTED, int(of_an_item / SEGMENT_SHARE))
        if len(tested) > most:
            tested = np.sort(rng.choice(tested, most, replace=False))
        pairs = np.concatenate(
            [
                np.stack([histories.items[first_U[user] : ends[user]], np.full(count_U[user], place)], axis=1)
                for place, user in enumerate(tested)
            ]
        )
        return cls(older_E, first_U[tested], np.unique(pairs, axis=0).astype(np.int64))


def evaluate_segments(trainer: HrnnTrainer, held_out: HeldOutEvents) -> tuple[dict[str, float], dict[str, float]]:
    """Return the metrics of the trainer's segments, and of segments with the most active users for every item."""
    users = len(held_out.firsts)
    segments_IN = find_segments(trainer, held_out.firsts, math.ceil(SEGMENT_SHARE * users))
    read_Q = trainer.streams.get_positions(held_out.firsts)
    active_N = np.argsort(-read_Q, kind="stable")[: segments_IN.shape[1]]
    found, active = (
        ranking_metrics.compute_segment_metrics(users_IN, held_out.taken, users)
        for users_IN in (segments_IN, np.broadcast_to(active_N, segments_IN.shape))
    )
    return found, active


@torch.inference_mode()
def find_segments(trainer: HrnnTrainer, events_Q: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """int64[I,N]: places in Q of the users for whom each item is most likely, at the moments of these events."""
    network = trainer.build_served_network().to(trainer.device)
    best_NI = torch.zeros(0, network.config.items, device=trainer.device)
    users_NI = torch.zeros(0, network.config.items, dtype=torch.long, device=trainer.device)
    on_block = trainer.reporter.stop_if_asked
    for chosen, shares_BI in iter_log_probs(network, trainer.streams, events_Q, on_block, blend=trainer.blend):
        chosen_B = torch.from_numpy(chosen).to(trainer.device)
        all_I = torch.cat([best_NI, shares_BI.exp()])
        users_I = torch.cat([users_NI, chosen_B[:, None].expand_as(shares_BI)])
        best_NI, places_NI = all_I.topk(min(count, len(all_I)), dim=0)
        users_NI = users_I.gather(0, places_NI)
    return users_NI.T.cpu().numpy()
