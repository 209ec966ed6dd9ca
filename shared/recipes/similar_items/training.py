"""Training of Similar-Items: fit, evaluate, go on with everybody, write. The network itself is network.py."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import save_file

from shared.data.histories import Histories
from shared.data.training_data import TrainingData
from shared.recipes import artifact as artifacts
from shared.recipes.baskets import Baskets
from shared.recipes.contract import Options, Progress, Recipe, Trained
from shared.recipes.evaluation import Split, evaluate, related
from shared.recipes.hrnn.plan import FULL_SOFTMAX_ITEMS, MULTIPLY_ADDS_A_THREAD, granted_cores
from shared.recipes.hrnn.streams import bags
from shared.recipes.hrnn.training import fingerprint
from shared.recipes.similar_items.fitting import (
    EPOCHS,
    LEARNING_RATE,
    RETRAINING_EPOCHS,
    RETRAINING_RATE,
    SEEDS_A_STEP,
    WITHOUT_VALIDATION,
    Course,
    Fit,
)
from shared.recipes.similar_items.nearby import Nearby
from shared.recipes.similar_items.network import Form, Network
from shared.recipes.similar_items.vectors import Vectors
from shared.recipes.watch import Phase, Watch


def train(
    data: TrainingData,
    recipe: Recipe,
    parameters: Mapping[str, str],
    *,
    workspace: Path,
    artifact: Path,
    progress: Callable[[Progress], None],
    should_stop: Callable[[], bool],
    options: Options,
    seed: int = 0,
) -> Trained:
    """``shared.recipes.contract.Train``."""
    started = time.monotonic()
    # Only items matter: who asks, and in what context, changes nothing.
    data = dataclasses.replace(data, users=None, contexts=None)
    histories = data.histories
    split = Split.of(histories, seed)
    validation = Nearby(histories, split.validation) if take_several(histories, split.validation) else None
    planned = EPOCHS if validation else WITHOUT_VALIDATION
    more = RETRAINING_EPOCHS if options.retrain_on_all_users else 0
    watch = Watch(progress, should_stop, planned + more)
    watch.say("training", 0)
    checkpoints = workspace / fingerprint(data, recipe, parameters, options, seed)
    checkpoints.mkdir(parents=True, exist_ok=True)
    discount = float(parameters["popularity_discount_factor"])

    torch.manual_seed(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    features = bags(data.items, device)
    form = Form(
        items=len(histories.item_ids),
        id_hidden=int(parameters["item_id_hidden_dim"]),
        metadata_hidden=int(parameters["item_metadata_hidden_dim"]) if features else 0,
        features=data.items.size if features and data.items else 0,
    )
    torch.set_num_threads(threads(form, options))
    network = Network(form).to(device)

    def learnt(phase: Phase, fit: Fit, before: int, epochs: int, rate: float, validation: Nearby | None) -> int:
        course = Course(fit, epochs, rate, checkpoints / f"{phase}.safetensors", options.checkpoint_seconds)

        def on_step(done: float, loss: float | None) -> None:
            watch.loss = loss
            watch.begin(before + done)
            watch.step(phase, before + done)

        return course.run(validation, on_step)

    fit = Fit(network, features, histories, split.train, seed)
    fit.begin()
    epochs = learnt("training", fit, 0, planned, LEARNING_RATE, validation)
    watch.expect(epochs + more)
    watch.say("evaluating", epochs)
    vectors = Vectors(fit.folded(watch.stop_if_asked).numpy(), discount)

    def scores(item: int) -> np.ndarray:
        watch.step("evaluating", epochs)
        return vectors.scores(item)

    metrics, baseline = evaluate(lambda events_Q, count: related(scores, histories, events_Q, count), histories, split)
    everybody = np.union1d(split.train, split.validation)
    if options.retrain_on_all_users:
        everybody = np.flatnonzero(histories.in_training)
        fit = Fit(network, features, histories, everybody, seed + 1)
        epochs += learnt("retraining", fit, epochs, RETRAINING_EPOCHS, RETRAINING_RATE * LEARNING_RATE, None)
    watch.say("writing", epochs)
    trained = Trained(metrics=metrics, baseline=baseline, epochs=epochs, seconds=round(time.monotonic() - started, 3))
    takers_I = Baskets.of(histories, everybody, watch.stop_if_asked).takers
    save_file({"vectors": fit.folded(watch.stop_if_asked).numpy()}, artifact / artifacts.WEIGHTS)
    artifacts.write(
        artifact,
        data,
        recipe=recipe.name,
        parameters=parameters,
        form=dataclasses.asdict(form),
        popularity=takers_I / takers_I.sum(),
        report={
            **dataclasses.asdict(trained),
            "users": len(histories.user_ids),
            "test_users": len(split.test),
            "interactions": len(histories.items),
        },
    )
    return trained


def take_several(histories: Histories, users: npt.NDArray[np.int64]) -> bool:
    """Did any of these users take two items? Where none did, they can't tell which epoch was the best."""
    return bool((np.diff(Baskets.of(histories, users).offsets) > 1).any())


def threads(form: Form, options: Options) -> int:
    """How many of the threads granted a step of this size employs, as of the HRNN."""
    step = SEEDS_A_STEP * (form.id_hidden + form.metadata_hidden) * min(form.items, FULL_SOFTMAX_ITEMS)
    return max(1, min(options.threads or granted_cores(), step // MULTIPLY_ADDS_A_THREAD))
