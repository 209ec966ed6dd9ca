"""The HRNN family as AWS documents it: names, ARNs, hyperparameters. The network itself is ``network.py``."""

from __future__ import annotations

from shared.recipes.contract import HyperParameter, Recipe

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
MIN_USER_HISTORY_LENGTH_PERCENTILE = HyperParameter(
    name="min_user_history_length_percentile",
    kind="featurization",
    type="float",
    default="0.0",
    minimum=0.0,
    maximum=1.0,
)
MAX_USER_HISTORY_LENGTH_PERCENTILE = HyperParameter(
    name="max_user_history_length_percentile",
    kind="featurization",
    type="float",
    default="0.99",
    minimum=0.0,
    maximum=1.0,
)

RECIPES = (
    Recipe(
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
    ),
)
