"""What a solution version trains on: settled when it was made, found again by each attempt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest

from shared.data.training import training_data
from shared.data.training.event_tables import EventParameters
from shared.data.training.rewards import Objective
from shared.data.training.training_data import TrainingSources
from shared.jobs.entrypoint import WorkFailed
from shared.recipes import RECIPES
from shared.recipes.training_api import TrainingStopped
from shared.store import Interaction, PutRecord, Record
from tests.unit.workers.world import PREFIX, SCHEMAS, World

OF_ITEMS_AND_USERS = [
    "aws-user-personalization",
    "aws-user-personalization-v2",
    "aws-personalized-ranking",
    "aws-personalized-ranking-v2",
    "aws-vod-top-picks",
    "aws-ecomm-recommended-for-you",
]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def parameters(version: Record) -> dict[str, str]:
    recipe = RECIPES[version.body["recipeArn"].rpartition("/")[2]]
    return recipe.resolve_parameters(version.body.get("solutionConfig"))


def test_all_three_datasets_are_frozen_with_the_version_the_older_files_first(world: World) -> None:
    interactions, items, users = (world.dataset(table) for table in SCHEMAS)
    first, more = world.imported(interactions), world.imported(interactions, "INCREMENTAL")
    films, people = world.imported(items), world.imported(users)
    version = world.version()
    world.imported(interactions)
    world.imported(items)
    sources = world.finding(version).find_sources(parameters(version))
    assert sources.interactions.files == [world.file(first), world.file(more)]
    assert sources.items is not None
    assert sources.items.files == [world.file(films)]
    assert sources.users is not None
    assert sources.users.files == [world.file(people)]
    assert json.loads(sources.users.schema)["name"] == "Users"
    assert (sources.metadata, sources.all_items) == (True, True)


def test_a_version_that_was_made_when_interactions_alone_were_frozen_is_read(world: World) -> None:
    interactions = world.dataset("Interactions")
    first, more = world.imported(interactions), world.imported(interactions, "INCREMENTAL")
    version = replace(world.version(), state={"imports": [more, first]})
    sources = world.finding(version).find_sources(parameters(version))
    assert sources.interactions.files == [world.file(first), world.file(more)]
    assert (sources.items, sources.users) == (None, None)


def test_a_recipe_without_metadata_reads_interactions_alone(world: World) -> None:
    for table in SCHEMAS:
        world.imported(world.dataset(table))
    world.solution("aws-hrnn")
    version = world.version()
    sources = world.finding(version).find_sources(parameters(version))
    assert (sources.items, sources.users, sources.metadata, sources.all_items) == (None, None, False, False)


def test_what_the_solution_says_is_handed_on(world: World) -> None:
    for table in ("Interactions", "Items"):
        world.imported(world.dataset(table))
    config = {
        "eventValueThreshold": "2.5",
        "trainingDataConfig": {"includedDatasetColumns": {"Interactions": []}},
        "featureTransformationParameters": {"max_user_history_length_percentile": "0.9"},
    }
    world.solution("aws-hrnn-metadata", eventType="Buy", solutionConfig=config)
    version = world.version()
    sources = world.finding(version).find_sources(parameters(version))
    assert (sources.event_type, sources.event_value_threshold) == ("Buy", 2.5)
    assert (sources.min_percentile, sources.max_percentile) == (0.0, 0.9)
    assert sources.excluded == {"INTERACTIONS": {"DEVICE"}}
    assert (sources.metadata, sources.all_items) == (True, False)


@pytest.mark.parametrize("recipe", OF_ITEMS_AND_USERS)
def test_excluded_columns_are_left_out_and_items_and_users_may_be_missing(world: World, recipe: str) -> None:
    world.imported(world.dataset("Interactions"))
    world.solution(recipe)
    alone = world.finding(world.version()).find_sources({})
    assert (alone.items, alone.users, alone.metadata) == (None, None, True)
    for table in ("Items", "Users"):
        world.imported(world.dataset(table))
    columns = {"Interactions": ["DEVICE"], "ITEMS": ["PRICE"], "users": ["AGE"]}
    world.solution(recipe, solutionConfig={"trainingDataConfig": {"excludedDatasetColumns": columns}})
    sources = world.finding(world.version()).find_sources({})
    assert sources.excluded == {"INTERACTIONS": {"DEVICE"}, "ITEMS": {"PRICE"}, "USERS": {"AGE"}}
    data = training_data.prepare_training_data(world.workspace / "data", many(sources), memory_mb=256)
    assert (data.items, data.users, data.contexts) == (None, None, None)
    assert sources.all_items == (recipe != "aws-personalized-ranking")


def many(sources: TrainingSources) -> TrainingSources:
    """The same, with enough interactions to train on."""
    file = sources.interactions.files[0]
    rows = "SELECT 'u' || (n % 50) AS USER_ID, 'i' AS ITEM_ID, n AS TIMESTAMP, 'tv' AS DEVICE FROM range(1000) AS r(n)"
    file.unlink()
    duckdb.sql(rows).write_parquet(str(file))
    return sources


def test_an_objective_is_handed_on(world: World) -> None:
    for table in ("Interactions", "Items"):
        world.imported(world.dataset(table))

    def asked(wanted: Mapping[str, str]) -> Objective | None:
        world.solution("aws-user-personalization", solutionConfig={"optimizationObjective": wanted})
        version = world.version()
        return world.finding(version).find_sources(parameters(version)).objective

    assert asked({"itemAttribute": "PRICE", "objectiveSensitivity": "LOW"}) == Objective(
        column="PRICE", sensitivity="LOW"
    )
    assert asked({"itemAttribute": "PRICE"}) == Objective(column="PRICE", sensitivity="OFF")
    assert asked({}) is None


def test_an_events_config_is_handed_on(world: World) -> None:
    world.imported(world.dataset("Interactions"))
    listed = [{"eventType": "Buy", "weight": 0.9}, {"eventType": "watch", "eventValueThreshold": 0.5, "weight": 0}, {}]
    world.solution("aws-user-personalization-v2", solutionConfig={"eventsConfig": {"eventParametersList": listed}})
    version = world.version()
    assert world.finding(version).find_sources(parameters(version)).events == [
        EventParameters(event_type="Buy", weight=0.9),
        EventParameters(event_type="watch", value_threshold=0.5, weight=0.0),
        EventParameters(),
    ]


def test_live_events_stand_behind_the_bulk_data_with_their_properties(world: World) -> None:
    interactions = world.dataset("Interactions")
    job = world.imported(interactions)
    event = Interaction(
        user_id="u",
        session_id="s",
        item_id="a",
        event_type="watch",
        event_value=None,
        sent_at=5.5,
        properties={"DEVICE": "tv"},
    )
    world.store.append_interactions(interactions, [event], invocation="1")
    version = world.version()
    bulk, live = world.finding(version).find_sources(parameters(version)).interactions.files
    assert bulk == world.file(job)
    assert duckdb.read_parquet(str(live)).select("ITEM_ID", "TIMESTAMP", "DEVICE").fetchall() == [("a", 5, "tv")]


def test_actions_are_read_in_the_place_of_items_bulk_and_live_and_few_will_do(world: World) -> None:
    world.solution("aws-next-best-action")
    world.imported(world.dataset("Interactions"))
    interactions, actions = world.dataset("ActionInteractions"), world.dataset("Actions")
    with pytest.raises(WorkFailed, match="has no action interactions: import some"):
        world.finding(world.version()).find_sources({})
    world.imported(interactions, rows="SELECT 'u' AS USER_ID, 'a' AS ACTION_ID, 'VIEWED' AS EVENT_TYPE, 1 AS TIMESTAMP")
    with pytest.raises(WorkFailed, match="aws-next-best-action needs the ACTIONS dataset, which is empty: import"):
        world.finding(world.version()).find_sources({})
    world.imported(actions, rows="SELECT 'b' AS ACTION_ID, 2.5::FLOAT AS PRICE, 7 AS REPEAT_FREQUENCY")
    sent = Interaction(user_id="u", session_id="s", item_id="a", event_type="Taken", event_value=None, sent_at=5.5)
    world.store.append_interactions(interactions, [sent], invocation="1")
    (world.workspace / "live.parquet").unlink()  # of the attempts above
    data = training_data.prepare_training_data(
        world.workspace / "data", world.finding(world.version()).find_sources({}), memory_mb=256
    )
    histories = data.histories
    assert (histories.item_ids, histories.event_type_names) == (["a", "b"], ["taken", "viewed"])
    assert (histories.items.tolist(), histories.event_types.tolist()) == ([0, 0], [1, 0])
    assert histories.timestamps.tolist() == [1, 5]
    assert data.items is not None
    assert [column.name for column in data.items.columns] == ["PRICE"]
    assert data.item_repeats is not None
    assert np.isnan(data.item_repeats[0])
    assert data.item_repeats[1] == 7
    assert data.item_expires is None


def put(world: World, dataset: str, id_: str, at: float, price: float) -> None:
    record = PutRecord(id=id_, properties={"PRICE": price}, at=at)
    world.store.save_put_records(dataset, [record], invocation=f"{id_} {at}")


def prices(world: World) -> dict[str, float]:
    """What a training would read of each item: the last of its rows."""
    version = world.version()
    items = world.finding(version).find_sources(parameters(version)).items
    assert items is not None
    rows = [row for file in items.files for row in duckdb.read_parquet(str(file)).select("ITEM_ID", "PRICE").fetchall()]
    return dict(rows)


def priced(*prices: tuple[str, float]) -> str:
    return f"SELECT * FROM (VALUES {', '.join(map(str, prices))}) AS t(ITEM_ID, PRICE)"


def test_of_items_that_were_imported_and_sent_the_newest_counts_and_a_full_import_keeps_those_sent(
    world: World,
) -> None:
    world.imported(world.dataset("Interactions"))  # import 1, asked for at second 1, and so on
    items = world.dataset("Items")
    put(world, items, "early", 0.5, 1.0)
    put(world, items, "again", 0.5, 1.0)
    world.imported(items, rows=priced(("again", 2.0), ("bulk", 2.0), ("changed", 2.0)))
    put(world, items, "late", 2.5, 3.0)
    put(world, items, "changed", 2.5, 3.0)
    world.imported(items, "INCREMENTAL", rows=priced(("added", 4.0), ("bulk", 4.0)))
    assert prices(world) == {"early": 1.0, "again": 2.0, "bulk": 4.0, "changed": 3.0, "late": 3.0, "added": 4.0}


def test_a_full_import_replaces_what_was_imported_and_keeps_what_was_sent(world: World) -> None:
    world.imported(world.dataset("Interactions"))
    items = world.dataset("Items")
    world.imported(items, rows=priced(("gone", 1.0), ("kept", 1.0)))
    world.imported(
        items,
        "INCREMENTAL",
        rows=priced(
            ("gone too", 1.0),
        ),
    )
    put(world, items, "sent", 3.5, 2.0)
    world.imported(
        items,
        rows=priced(
            ("kept", 3.0),
        ),
    )
    assert prices(world) == {"sent": 2.0, "kept": 3.0}


def test_items_that_were_sent_need_no_import(world: World) -> None:
    world.imported(world.dataset("Interactions"))
    put(world, world.dataset("Items"), "sent", 5.0, 2.0)
    assert prices(world) == {"sent": 2.0}


def test_columns_that_came_after_the_solution_are_left_out(world: World) -> None:
    for table in SCHEMAS:
        world.imported(world.dataset(table))
    for table, column, at in (("ITEMS", "PRICE", -1.0), ("USERS", "AGE", 99.0)):
        dataset = world.store.get(f"{PREFIX}:dataset/g/{table}")
        assert dataset is not None
        world.store.replace(replace(dataset, state={"added": {column: at}}))
    config = {"trainingDataConfig": {"excludedDatasetColumns": {"Interactions": ["DEVICE"]}}}
    world.solution("aws-hrnn-metadata", solutionConfig=config)
    version = world.version()
    assert world.finding(version).find_sources(parameters(version)).excluded == {
        "INTERACTIONS": {"DEVICE"},
        "USERS": {"AGE"},
    }


def test_without_a_file_or_with_a_damaged_one_it_fails_with_a_reason(world: World) -> None:
    interactions = world.dataset("Interactions")
    version = world.version()
    with pytest.raises(WorkFailed, match="no interactions: import some, or send events"):
        world.finding(version).find_sources(parameters(version))
    job = world.imported(interactions)
    version = world.version()
    world.file(job).write_bytes(b"")
    with pytest.raises(WorkFailed, match=r"rows\.parquet .* Import the data again"):
        world.finding(version).find_sources(parameters(version))


def test_it_ends_when_it_is_asked_to(world: World) -> None:
    world.imported(world.dataset("Interactions"))
    version = world.version()

    def stop() -> None:
        raise TrainingStopped

    with pytest.raises(TrainingStopped):
        world.finding(version, stop).find_sources(parameters(version))


def test_a_use_case_trains_on_its_events_and_a_recipe_without_percentiles_on_everybody(world: World) -> None:
    world.imported(world.dataset("Interactions"))
    for recipe, event_type in (("aws-popularity-count", None), ("aws-vod-most-popular", "Watch")):
        world.solution(recipe)
        version = world.version()
        sources = world.finding(version).find_sources(parameters(version))
        assert (sources.min_percentile, sources.max_percentile) == (0.0, 1.0)
        assert sources.event_type == event_type
    world.solution("aws-sims")
    version = world.version()
    sources = world.finding(version).find_sources(parameters(version))
    assert (sources.min_percentile, sources.max_percentile, sources.event_type) == (0.005, 0.995, None)
