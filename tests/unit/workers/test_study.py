"""What HPO searches, and what it tries next: no trial is run here, each is a line of a made-up record."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from shared.recipes import RECIPES
from shared.resources.solution import tuning
from workers.tuning.study import Parameters, SearchSpace, TriedParameters

COMPLETE, FAIL, PRUNED, RUNNING = TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED, TrialState.RUNNING


def config(*ranges: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A SolutionConfig with ranges, each in the list that its members tell."""
    lists: dict[str, list[Mapping[str, Any]]] = {
        "integerHyperParameterRanges": [],
        "continuousHyperParameterRanges": [],
        "categoricalHyperParameterRanges": [],
    }
    for wanted in ranges:
        whole = "values" not in wanted and isinstance(wanted.get("minValue", 0), int)
        kind = "categorical" if "values" in wanted else "integer" if whole else "continuous"
        lists[f"{kind}HyperParameterRanges"].append(wanted)
    return {"hpoConfig": {"algorithmHyperParameterRanges": lists}, **more}


def between(name: str, low: float, high: float) -> dict[str, Any]:
    return {"name": name, "minValue": low, "maxValue": high}


def space(config: Mapping[str, Any], recipe: str = "aws-hrnn") -> SearchSpace:
    return SearchSpace.from_config(RECIPES[recipe], config)


def tried(parameters: Parameters, value: float | None = 0.1, state: TrialState = COMPLETE) -> TriedParameters:
    return TriedParameters(parameters=parameters, state=state, value=value)


def proposed(space: SearchSpace, trials: Sequence[TriedParameters], seed: str = "seed", jobs: int = 12) -> Parameters:
    found = space.propose_parameters(trials, jobs=jobs, seed=seed)
    assert found is not None
    return found


def run(space: SearchSpace, gain: Any, jobs: int, seed: str = "seed") -> list[TriedParameters]:
    """All trials of a study, one after the other."""
    done: list[TriedParameters] = []
    while len(done) < jobs and (parameters := space.propose_parameters(done, jobs=jobs, seed=seed)) is not None:
        done.append(tried(parameters, gain(parameters)))
    return done


# What is searched

WIDE, NARROW = IntDistribution(32, 256, log=True), IntDistribution(20, 40)
MASK = CategoricalDistribution(["false", "true"])


@pytest.mark.parametrize("prefixes", [("", "", ""), ("training.", "training.", "data.")])
def test_ranges_of_all_types_are_searched_by_their_bare_names(prefixes: tuple[str, str, str]) -> None:
    whole, number, choice = prefixes
    hrnn = space(
        config(between(f"{whole}bptt", 20, 40), {"name": f"{choice}recency_mask", "values": ["True", "false"]})
    )
    assert hrnn.distributions == {"bptt": NARROW, "recency_mask": MASK}
    sims = space(config(between(f"{number}popularity_discount_factor", 0.25, 0.75)), "aws-sims")
    assert sims.distributions == {"popularity_discount_factor": FloatDistribution(0.25, 0.75)}


@pytest.mark.parametrize("bptt", [(20, 40), (2, 22)], ids=["the guide's first edition", "the guide"])
def test_the_guides_examples_can_be_searched_as_printed(bptt: tuple[int, int]) -> None:
    printed = config(between("training.bptt", *bptt), {"name": "data.recency_mask", "values": ["true", "false"]})
    printed["algorithmHyperParameters"] = {"hidden_dimension": "55"}
    done = run(space(printed), lambda parameters: float(parameters["bptt"]), 12)
    assert len({tuple(trial.parameters.items()) for trial in done}) == 12
    for trial in done:
        assert bptt[0] <= int(trial.parameters["bptt"]) <= bptt[1]
        assert trial.parameters["recency_mask"] in ("true", "false")
        assert trial.parameters["hidden_dimension"] == "55"


@pytest.mark.parametrize("empty", [{}, {"hpoConfig": {}}, config(), {"hpoConfig": {"hpoResourceConfig": {}}}])
def test_without_ranges_all_that_is_tunable_is_searched_as_the_recipe_has_it(empty: dict[str, Any]) -> None:
    assert space(empty).distributions == {
        "hidden_dimension": WIDE,
        "bptt": IntDistribution(2, 32, log=True),
        "recency_mask": MASK,
    }


def test_a_range_without_bounds_has_the_recipes() -> None:
    assert space(config({"name": "hidden_dimension"})).distributions == {"hidden_dimension": WIDE}
    assert space(config({"name": "recency_mask", "values": []})).distributions == {"recency_mask": MASK}
    assert space(config(between("bptt", 8, 8))).distributions == {"bptt": IntDistribution(8, 8)}


def test_what_hpo_alone_sets_is_searched_within_both_its_bounds() -> None:
    similar = space(config(between("item_id_hidden_dim", 30, 60)), "aws-similar-items")
    assert similar.distributions == {"item_id_hidden_dim": IntDistribution(30, 60)}
    assert similar.first["item_id_hidden_dim"] == "60"  # nearest to its default, 100
    assert similar.first["item_metadata_hidden_dim"] == "100"
    values = {int(trial.parameters["item_id_hidden_dim"]) for trial in run(similar, lambda _: 0.0, 12)}
    assert len(values) == 12
    assert 30 <= min(values) <= max(values) <= 60


# The first trial, and what stays


def test_the_first_trial_is_the_recipes_defaults() -> None:
    recipe = RECIPES["aws-hrnn"]
    assert space({}).propose_parameters([], jobs=12, seed="any") == recipe.resolve_parameters({})


@pytest.mark.parametrize(
    ("wanted", "name", "first"),
    [
        (between("hidden_dimension", 100, 200), "hidden_dimension", "100"),
        (between("hidden_dimension", 32, 40), "hidden_dimension", "40"),
        (between("bptt", 20, 40), "bptt", "32"),
        ({"name": "recency_mask", "values": ["false"]}, "recency_mask", "false"),
    ],
)
def test_the_first_trial_is_what_is_nearest_to_the_defaults(wanted: dict[str, Any], name: str, first: str) -> None:
    assert proposed(space(config(wanted)), [])[name] == first


def test_a_value_that_is_set_stays_and_others_have_their_defaults() -> None:
    chosen = space(config(between("bptt", 8, 16), algorithmHyperParameters={"hidden_dimension": "64"}))
    for trial in run(chosen, lambda _: 0.0, 6):
        assert {**trial.parameters, "bptt": ""} == {
            "hidden_dimension": "64",
            "bptt": "",
            "recency_mask": "true",
            "min_user_history_length_percentile": "0.0",
            "max_user_history_length_percentile": "0.99",
        }


def test_of_a_value_that_is_set_and_a_range_the_range_wins() -> None:
    both = space(config(between("bptt", 8, 16), algorithmHyperParameters={"bptt": "12"}))
    assert proposed(both, [])["bptt"] == "12"  # tried first, as the customer's own
    assert {trial.parameters["bptt"] for trial in run(both, lambda _: 0.0, 40)} == {str(n) for n in range(8, 17)}
    outside = space(config(between("bptt", 8, 16), algorithmHyperParameters={"bptt": "32"}))
    assert proposed(outside, [])["bptt"] == "16"


# What is tried next

HIDDEN = space(config(between("hidden_dimension", 32, 256)))


def smooth(parameters: Parameters) -> float:
    """Best at 140, as a validation curve might be: flat near the top."""
    return 0.2 - 0.02 * (math.log(int(parameters["hidden_dimension"])) - math.log(140)) ** 2


def test_the_same_trials_and_seed_give_the_same_proposal() -> None:
    for jobs in (1, 3, 8):
        trials = run(HIDDEN, smooth, jobs)
        assert proposed(HIDDEN, trials) == proposed(HIDDEN, trials)
    assert len({proposed(HIDDEN, run(HIDDEN, smooth, 1), seed)["hidden_dimension"] for seed in "abcdef"}) > 1


@pytest.mark.parametrize("state", [COMPLETE, RUNNING, FAIL, PRUNED])
def test_nothing_is_tried_twice_however_it_ended(state: TrialState) -> None:
    few = space(config(between("bptt", 8, 10), {"name": "recency_mask", "values": ["true", "false"]}))
    trials = [tried(few.first)]
    for _ in range(5):
        value = 0.1 if state in (COMPLETE, PRUNED) else None
        trials.append(tried(proposed(few, trials), value, state))
    assert len({tuple(sorted(trial.parameters.items())) for trial in trials}) == 6
    assert few.propose_parameters(trials, jobs=40, seed="seed") is None


@pytest.mark.parametrize("seed", ["a", "b", "c"])
def test_a_small_space_is_tried_out_before_there_is_nothing_new(seed: str) -> None:
    small = space(config(between("bptt", 20, 31)))
    # One value is best by far: a sampler that goes by what it knows would go back to it again and again.
    done = run(small, lambda parameters: float(parameters["bptt"] == "32"), tuning.MOST_JOBS, seed)
    assert sorted(int(trial.parameters["bptt"]) for trial in done) == list(range(20, 32))


def test_a_recipe_without_hyperparameters_is_tried_once() -> None:
    popularity = RECIPES["aws-popularity-count"]
    nothing = SearchSpace.from_config(popularity, {})
    assert nothing.propose_parameters([], jobs=12, seed="seed") == {}
    assert nothing.propose_parameters([tried({})], jobs=12, seed="seed") is None


@pytest.mark.parametrize("seed", [f"arn:aws:personalize:r:a:solution/s/{n}" for n in range(4)])
def test_twelve_trials_find_better_than_the_defaults(seed: str) -> None:
    done = run(HIDDEN, smooth, 12, seed)
    values = [trial.value or 0.0 for trial in done]
    assert max(values) > values[0] + 0.02  # the defaults, 43, lose 0.028
    assert max(values) > 0.195


def test_what_was_learnt_counts() -> None:
    """After so many trials the proposals lie where trials went well, not anywhere."""
    low = [tried({**HIDDEN.first, "hidden_dimension": str(n)}, 0.3 - n / 1000) for n in range(32, 256, 14)]
    near = [int(proposed(HIDDEN, low, str(seed))["hidden_dimension"]) for seed in range(12)]
    assert sum(n < 100 for n in near) >= 9


def test_trials_under_way_are_not_looked_beside() -> None:
    """Ten that ask at once, before any has an answer, look in ten places."""
    trials = [tried(HIDDEN.first, None, RUNNING)]
    for _ in range(9):
        trials.append(tried(proposed(HIDDEN, trials), None, RUNNING))
    assert len({trial.parameters["hidden_dimension"] for trial in trials}) == 10


def test_numbers_are_written_as_they_are_read_back() -> None:
    factor = space(config(between("popularity_discount_factor", 0.1, 0.9)), "aws-sims")
    for trial in run(factor, lambda parameters: float(parameters["popularity_discount_factor"]), 12):
        text = trial.parameters["popularity_discount_factor"]
        assert repr(float(text)) == text
        assert RECIPES["aws-sims"].resolve_parameters({"algorithmHyperParameters": trial.parameters})
