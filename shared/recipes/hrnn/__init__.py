"""The HRNN family as AWS documents it: names, ARNs, hyperparameters. The network itself is ``network.py``."""

from __future__ import annotations

import dataclasses

from shared.recipes.declaration import Recipe, ServingTraits, TrainingTraits
from shared.recipes.hyperparameters import HyperParameter

HIDDEN_DIMENSION = HyperParameter(
    name="hidden_dimension",
    kind="algorithm",
    type="integer",
    default="43",
    minimum=32,
    maximum=256,
    tunable=True,
)
BPTT = HyperParameter(
    name="bptt",
    kind="algorithm",
    type="integer",
    default="32",
    minimum=2,
    maximum=32,
    # AWS's guide tunes bptt from 20 to 40 in one sample, beyond the maximum of its own table.
    accepted_maximum=40,
    tunable=True,
)
RECENCY_MASK = HyperParameter(
    name="recency_mask",
    kind="algorithm",
    type="categorical",
    default="true",
    choices=("true", "false"),
    tunable=True,
)
COLD_START_MAX_INTERACTIONS = HyperParameter(
    name="cold_start_max_interactions",
    kind="featurization",
    type="integer",
    default="15",
    positive=True,
)
COLD_START_MAX_DURATION = HyperParameter(
    name="cold_start_max_duration",  # in days
    kind="featurization",
    type="float",
    default="5.0",
    positive=True,
)
COLD_START_RELATIVE_FROM = HyperParameter(
    name="cold_start_relative_from",
    kind="featurization",
    type="string",
    default="latestItem",
    choices=("currentTime", "latestItem"),
)
MIN_USER_HISTORY_LENGTH_PERCENTILE = HyperParameter(
    name="min_user_history_length_percentile",
    kind="featurization",
    type="float",
    default="0.0",
    minimum=0.0,
    maximum=1.0,
    # AWS's console writes this name into a configuration; AWS's guide uses both names in one sentence.
    aliases=("min_hist_length_percentile",),
)
MAX_USER_HISTORY_LENGTH_PERCENTILE = HyperParameter(
    name="max_user_history_length_percentile",
    kind="featurization",
    type="float",
    default="0.99",
    minimum=0.0,
    maximum=1.0,
    aliases=("max_hist_length_percentile",),
)
COLD_START = (COLD_START_MAX_INTERACTIONS, COLD_START_MAX_DURATION, COLD_START_RELATIVE_FROM)

HRNN = Recipe(
    name="aws-hrnn",
    description=(
        "Predicts the items that a user will interact with: a hierarchical recurrent neural network that "
        "models the temporal order of user-item interactions."
    ),
    recipe_type="USER_PERSONALIZATION",
    algorithm="aws-hrnn",
    feature_transformation="JSON-percentile-filtering",
    module=__name__,
    hyperparameters=(
        HIDDEN_DIMENSION,
        BPTT,
        RECENCY_MASK,
        MIN_USER_HISTORY_LENGTH_PERCENTILE,
        MAX_USER_HISTORY_LENGTH_PERCENTILE,
    ),
    serving=ServingTraits(shows_scores=True, reads_live_events=True),
)
METADATA = dataclasses.replace(
    HRNN,
    name="aws-hrnn-metadata",
    description=(
        "aws-hrnn with features from the metadata of users, items and interactions: better than aws-hrnn where "
        "these say much about what a user wants."
    ),
    algorithm="aws-hrnn-metadata",
    feature_transformation="featurize_metadata",
    training=TrainingTraits(uses_metadata=True),
)
COLDSTART = dataclasses.replace(
    METADATA,
    name="aws-hrnn-coldstart",
    description=(
        "aws-hrnn-metadata for catalogues to which new items are often added: recommends an item from its metadata "
        "before any user has interacted with it."
    ),
    algorithm="aws-hrnn-coldstart",
    feature_transformation="featurize_coldstart",
    hyperparameters=(
        dataclasses.replace(HIDDEN_DIMENSION, default="149"),
        BPTT,
        RECENCY_MASK,
        *COLD_START,
        MIN_USER_HISTORY_LENGTH_PERCENTILE,
        MAX_USER_HISTORY_LENGTH_PERCENTILE,
    ),
    training=TrainingTraits(modes=("FULL", "UPDATE"), uses_metadata=True, cold_items=True),
)
RECIPES = (HRNN, METADATA, COLDSTART)
