"""A recipe whose trials only sleep, so that a benchmark measures dispatch, loading and reporting alone.

For ``FORETASTE_RECIPES=benchmarks.tuning.sleeping``.
"""

from shared.recipes.plugin import HyperParameter, Recipe

SLEEPING = Recipe(
    name="sleeping",
    description="Sleeps, and then counts who took what.",
    recipe_type="USER_PERSONALIZATION",
    algorithm="sleeping",
    feature_transformation=None,
    module=__name__,
    hyperparameters=(
        HyperParameter(
            name="milliseconds",
            kind="algorithm",
            type="integer",
            default="1000",
            minimum=0,
            maximum=60_000,
        ),
        HyperParameter(
            name="worth",
            kind="algorithm",
            type="float",
            default="0.5",
            minimum=0.0,
            maximum=1.0,
            tunable=True,
        ),
    ),
)
RECIPES = (SLEEPING,)
