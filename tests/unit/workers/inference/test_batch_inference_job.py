"""Batch inference jobs, done in this process: each recipe type's lines and outputs, filters, faults of the input."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from shared.jobs.entrypoint import WorkFailed, WorkStopped
from shared.recipes import RECIPES
from shared.recipes.scoring_api import Exploration, Past
from shared.serving.model_cache import ModelCache
from shared.store import PutRecord
from tests.unit.services.runtime_world import Echo, Runtime, dataset, event
from tests.unit.shared.serving.filter_world import ACTIONS, DRAMA, RANKING, SECOND, SIMS, UP, create_runtime
from tests.unit.workers.inference.batch_world import JOB, BatchWorld, create_world
from workers.inference import batch_inference_job, batch_run

POPULARITY = RECIPES["aws-popularity-count"]


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    return create_runtime(tmp_path)


@pytest.fixture
def world(tmp_path: Path, runtime: Runtime) -> BatchWorld:
    return create_world(tmp_path, runtime)


def test_users_get_the_items_and_scores_of_a_campaign(world: BatchWorld, runtime: Runtime) -> None:
    world.give("users.json", {"userId": "u"}, {"userId": "unknown"})
    assert world.run(UP, numResults=3) == {"lines": 2, "failed": 0}
    campaign = runtime.serving(UP)
    for result, user in zip(world.results(), ("u", "unknown"), strict=True):
        rows = runtime.answered(campaign, userId=user, numResults=3)
        assert result == {
            "input": {"userId": user},
            "output": {"recommendedItems": ["a", "b", "c"], "scores": [row["score"] for row in rows]},
            "error": None,
        }
    assert [each["phase"] for each in world.progress] == ["answering", "writing"]
    assert world.progress[-1] == {"phase": "writing", "rows": 2}


def test_popular_items_have_no_scores(world: BatchWorld) -> None:
    assert world.answered(POPULARITY, [{"userId": "u"}]) == [{"recommendedItems": ["a", "b", "c", "d", "h"]}]


def test_popular_items_for_users_of_whom_nothing_is_known_have_no_scores(world: BatchWorld) -> None:
    known, stranger = world.answered(SECOND, [{"userId": "u"}, {"userId": "stranger"}], numResults=2)
    assert (known.keys(), stranger) == ({"recommendedItems", "scores"}, {"recommendedItems": ["a", "b"]})


def test_given_items_are_ranked_each_once_with_the_unknown_behind(world: BatchWorld, runtime: Runtime) -> None:
    [output] = world.answered(RANKING, [{"userId": "u", "itemList": ["c", "?", "a", "c"]}])
    ranking = runtime.asked(
        "GetPersonalizedRanking", campaignArn=runtime.serving(RANKING), userId="u", inputList=["c", "?", "a"]
    )["personalizedRanking"]
    assert output == {
        "recommendedItems": ["a", "c", "?"],
        "scores": [ranking[0]["score"], ranking[1]["score"], None],
    }


def test_related_items_leave_out_the_item_itself(world: BatchWorld) -> None:
    outputs = world.answered(SIMS, [{"itemId": "b"}, {"itemId": "unknown"}])
    assert outputs == [{"recommendedItems": list("acdh")}, {"recommendedItems": list("abcdh")}]


def test_actions_are_recommended(world: BatchWorld, runtime: Runtime) -> None:
    runtime.filled("Actions", ("ACTION_ID string", "PRICE float"), [("a", 5.0), ("b", 1.0)])
    cheap = runtime.filter("INCLUDE ActionID WHERE Actions.PRICE < 4")
    assert world.answered(ACTIONS, [{"userId": "u"}], numResults=2)[0]["recommendedActions"] == ["a", "b"]
    filtered = world.answered(ACTIONS, [{"userId": "u"}], numResults=2, filterArn=cheap, name="k")[0]
    assert filtered["recommendedActions"] == ["b"]
    assert list(filtered) == ["recommendedActions", "scores"][: 1 + ACTIONS.serving.shows_scores]


def test_a_filter_takes_the_values_of_each_line_and_the_data_of_now(world: BatchWorld, runtime: Runtime) -> None:
    genre = runtime.filter("INCLUDE ItemID WHERE Items.GENRE IN ($GENRE)")
    put = PutRecord(id="d", properties={"GENRE": "Comedy"}, at=runtime.store.now())
    runtime.store.save_put_records(dataset("ITEMS"), [put], invocation="p")
    lines = [
        {"userId": "u", "filterValues": {"GENRE": '"Comedy"'}},
        {"userId": "u", "filterValues": {"GENRE": '"War"'}},
        {"userId": "u"},
        {"userId": "u", "filterValues": {"GENRE": 5}},
    ]
    first, second, without, wrong = world.answered(UP, lines, filterArn=genre)
    assert (first["recommendedItems"], second["recommendedItems"]) == (["c", "d"], ["a", "b"])
    assert "GENRE" in without
    assert wrong.startswith("filterValues must be an object of at most 25 strings")


def test_live_events_count_in_filters_and_not_in_the_model(world: BatchWorld, runtime: Runtime) -> None:
    unseen = runtime.filter('EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("*")')
    runtime.sent(event("c", runtime.store.now(), user="known"))
    [output] = world.answered(UP, [{"userId": "known"}], filterArn=unseen)
    assert output["recommendedItems"] == list("abdh")
    [query] = runtime.scorer.asked
    assert query.history == [Past("a", 1.0)]


def test_the_query_is_that_of_the_jobs_creation_and_has_a_seed_of_its_line(world: BatchWorld, runtime: Runtime) -> None:
    config = {"itemExplorationConfig": {"explorationWeight": "0.9"}}
    lines = [{"userId": "u", "context": {"DEVICE": "tv"}}, {"userId": "u"}]
    for name in ("j", "j", "k"):
        world.answered(UP, lines, batchInferenceJobConfig=config, name=name)
        world.job(name=name).artifacts.discard_workspace(JOB)
    asked = runtime.scorer.asked
    assert asked[0].exploration == Exploration(weight=0.9, age_cut_off_days=30.0)
    assert (asked[0].context, asked[1].context) == ({"DEVICE": "tv"}, {})
    record = runtime.store.get(JOB)
    assert record is not None
    assert [query.now for query in asked[:4]] == [record.created] * 4
    seeds = [query.seed for query in asked]
    assert seeds[:2] == seeds[2:4]  # of the same job
    assert len(set(seeds)) == 4


@pytest.mark.parametrize(
    ("recipe", "line", "error"),
    [
        (UP, {}, "userId is required."),
        (UP, {"userId": ""}, "userId is required."),
        (UP, {"userId": 5}, "userId must be a string of at most 256 characters."),
        (UP, {"userId": "u" * 257}, "userId must be a string of at most 256 characters."),
        (UP, {"userId": "u", "context": ["tv"]}, "context must be an object of at most 150 strings"),
        (SIMS, {"userId": "u"}, "itemId is required."),
        (RANKING, {"userId": "u"}, "itemList is required: the ids of the items to rank."),
        (RANKING, {"userId": "u", "itemList": []}, "itemList is required"),
        (RANKING, {"userId": "u", "itemList": "abc"}, "itemList must be a list of strings"),
        (RANKING, {"userId": "u", "itemList": ["a", {}]}, "itemList must be a list of strings"),
        (RANKING, {"userId": "u", "itemList": ["a"] * 501}, "itemList has 501 items; at most 500 are ranked."),
    ],
)
def test_a_bad_line_has_an_error_and_the_next_an_answer(
    world: BatchWorld, recipe: Any, line: dict[str, Any], error: str
) -> None:
    good = {"userId": "u", "itemId": "b", "itemList": ["a"]}
    world.give("users.json", line, good)
    assert world.run(recipe) == {"lines": 2, "failed": 1}
    bad, fine = world.results()
    assert (bad["input"], bad["output"]) == (line, None)
    assert bad["error"].startswith(error)
    assert fine["output"]["recommendedItems"]


ODD: list[Any] = [None, "", "u", 5, -1.5, True, [], ["a"], [[]], [None], {}, {"a": "b"}, {"a": 5}, "x" * 300, "\0", "é"]
MEMBERS = ("userId", "itemId", "itemList", "filterValues", "context", "promotions", "filterArn", "numResults")


@pytest.mark.parametrize("recipe", [UP, SECOND, RANKING, SIMS, POPULARITY], ids=lambda recipe: recipe.name)
def test_no_line_fails_the_job(world: BatchWorld, runtime: Runtime, recipe: Any) -> None:
    good = {"userId": "u", "itemId": "b", "itemList": ["a"]}
    lines = [{**good, member: value} for member in MEMBERS for value in ODD]
    lines += [{**good, "promotions": [{"name": "p", "percentPromotedItems": 50, "filterArn": "none"}]}]
    named = runtime.filter("INCLUDE ItemID WHERE Items.PRICE > $LEAST OR Items.GENRE IN ($GENRE)")
    for name, arn in (("j", None), ("k", named)):
        results = [*world.answered(recipe, lines, name=name, filterArn=arn)]
        assert len(results) == len(lines)
        assert isinstance(results[-1], dict) == (arn is None)  # without the values of its filter it has an error


def test_each_file_of_a_folder_has_its_results(world: BatchWorld) -> None:
    world.give("one.json", {"userId": "u"}, b"", {"userId": "v"})
    world.give("two.jsonl", b"no query")
    world.give("empty.json")
    world.give("_SUCCESS", b"x")
    world.give("README.md", b"x")
    remarks = world.run(UP)
    assert remarks == {"lines": 3, "failed": 1, "skipped": ["README.md"]}
    assert sorted(path.name for path in (world.bucket / "out").iterdir()) == [
        "empty.json.out",
        "one.json.out",
        "two.jsonl.out",
    ]
    assert [each["input"] for each in world.results("one.json")] == [{"userId": "u"}, {"userId": "v"}]
    assert [each["input"] for each in world.results("two.jsonl")] == ["no query"]
    assert world.results("empty.json") == []


def test_one_file_may_be_the_input_and_the_output_a_bucket(world: BatchWorld) -> None:
    world.give("users.json", {"userId": "u"})
    world.give("other.json", {"userId": "v"})
    world.run(
        UP,
        jobInput={"s3DataSource": {"path": "s3://bucket/in/users.json"}},
        jobOutput={"s3DataDestination": {"path": "s3://bucket"}},
    )
    assert [path.name for path in world.bucket.iterdir() if path.is_file()] == ["users.json.out"]


@pytest.mark.parametrize(
    ("lines", "body", "settings", "reason"),
    [
        ([], {}, {}, "Invalid S3 input path. s3://bucket/in/ holds no line. Give a JSON object on each line."),
        ([b"", b"  "], {}, {}, "Invalid S3 input path. s3://bucket/in/ holds no line."),
        (
            [b"{}"],
            {"jobInput": {"s3DataSource": {"path": "s3://bucket/none.json"}}},
            {},
            "Invalid S3 input path. There is nothing at s3://bucket/none.json. Check the key",
        ),
        ([b"\x1f\x8b"], {}, {}, "Invalid S3 input path. users.json, line 1, is compressed by gzip."),
        (
            [b"{}"] * 3,
            {},
            {"quota_batch_input_records": 2},
            "Invalid S3 input path. users.json goes beyond the 2 lines",
        ),
        ([b"{}"], {}, {"quota_batch_input_files": 0}, "Invalid S3 input path. It has 1 files; a batch job takes"),
        ([b"{}"], {}, {"quota_batch_input_mb": 0}, "Invalid S3 input path. It has 0.0 MiB; a batch job takes"),
        (
            [b"{}"],
            {"jobOutput": {"s3DataDestination": {"path": "s3://nowhere/out"}}},
            {},
            "Invalid S3 output path. There is no bucket nowhere.",
        ),
        (
            [b"{}"],
            {"jobOutput": {"s3DataDestination": {"path": "s3://bucket/in/users.json/"}}},
            {},
            "Invalid S3 output path. s3://bucket/in/users.json",
        ),
    ],
)
def test_a_job_without_usable_input_or_output_fails_with_a_reason(
    tmp_path: Path, runtime: Runtime, lines: list[bytes], body: dict[str, Any], settings: dict[str, int], reason: str
) -> None:
    world = create_world(tmp_path, runtime, **settings)
    world.give("users.json", *lines)
    with pytest.raises(WorkFailed) as failure:
        world.run(UP, **body)
    assert str(failure.value).startswith(reason)
    assert not (world.bucket / "out").exists()


def test_an_output_that_cannot_be_written_is_known_before_the_work(world: BatchWorld, runtime: Runtime) -> None:
    world.give("users.json", {"userId": "u"})
    with pytest.raises(WorkFailed, match="Invalid S3 output path"):
        world.run(UP, jobOutput={"s3DataDestination": {"path": "s3://nowhere/out"}})
    assert runtime.scorer.asked == []


def test_a_full_disk_fails_with_a_reason_and_leaves_no_half_file(
    world: BatchWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    world.give("users.json", {"userId": "u"})
    monkeypatch.setattr("shared.storage.folder_buckets._copy_atomically", write)
    with pytest.raises(WorkFailed, match=r"Invalid S3 output path\. .*No space left on device"):
        world.run(UP)
    assert list((world.bucket / "out").iterdir()) == []


def test_a_model_that_is_gone_fails_with_a_reason(world: BatchWorld) -> None:
    world.give("users.json", {"userId": "u"})
    with pytest.raises(WorkFailed, match=r"The version .* does not exist any more"):
        batch_run.run_batch_job(world.job(), world.progress.append, batch_inference_job.build_answerer)


@pytest.mark.parametrize(
    ("recipe", "expression", "reason"),
    [
        (UP, "INCLUDE ItemID WHERE Items.PRICE > CurrentItem.PRICE", "tests CurrentItem"),
        (UP, 'INCLUDE ActionID WHERE Actions.ACTION_ID IN ("a")', "does not f"),
    ],
)
def test_a_filter_that_does_not_fit_the_recipe_fails_the_job(
    world: BatchWorld, runtime: Runtime, recipe: Any, expression: str, reason: str
) -> None:
    world.give("users.json", {"userId": "u"})
    with pytest.raises(WorkFailed, match=reason):
        world.run(recipe, filterArn=runtime.filter(expression))


def test_an_attempt_goes_on_where_the_last_one_ended(tmp_path: Path, runtime: Runtime) -> None:
    world = create_world(tmp_path, runtime, batch_shard_lines=3)
    world.give("users.json", *({"userId": f"u{n}"} for n in range(20)))
    with pytest.raises(WorkStopped):
        world.run(UP, world.job(should_stop=lambda: len(runtime.scorer.asked) >= 8))
    before = [query.user_id for query in runtime.scorer.asked]
    assert 8 <= len(before) < 20
    # The input as it was when the job began counts.
    world.give("users.json", {"userId": "later"})
    assert world.run(UP, world.job()) == {"lines": 20, "failed": 0}
    assert [each["input"]["userId"] for each in world.results()] == [f"u{n}" for n in range(20)]
    # Only the shard in which the first attempt ended is answered again.
    assert len(runtime.scorer.asked) <= 20 + 3


def test_a_filter_is_read_as_it_was_when_the_work_began(world: BatchWorld, runtime: Runtime) -> None:
    world.give("users.json", *({"userId": "u"} for _ in range(4)))
    arn = runtime.filter(DRAMA)
    asked = []

    class Deleting(Echo):
        def scores(self, query: Any) -> Any:
            if not asked and (record := runtime.store.get(arn)):
                runtime.store.remove(record)
            asked.append(query)
            return super().scores(query)

    world.run(UP, scorer=Deleting("abcdh", (0.3, 0.25, 0.2, 0.15, 0.1)), filterArn=arn)
    assert [each["output"]["recommendedItems"] for each in world.results()] == [["a"]] * 4


def test_two_jobs_may_write_into_one_folder(world: BatchWorld) -> None:
    for user, name in (("u", "j"), ("v", "k")):
        world.give("users.json", {"userId": user})
        world.run(UP, name=name)
    assert [each["input"]["userId"] for each in world.results()] == ["v"]


def test_a_helper_answers_the_shards_that_are_free(
    tmp_path: Path, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = create_world(tmp_path, runtime, batch_shard_lines=2)
    world.give("users.json", *({"userId": f"u{n}"} for n in range(8)))
    job, model = world.job(), runtime.model(UP)
    monkeypatch.setattr(ModelCache, "load_model", lambda *_: model)
    helped: list[str] = []

    def help_once(*_: Any) -> None:
        if not helped:
            begun = len(runtime.scorer.asked)
            batch_run.help_batch_job(world.job(), batch_inference_job.build_answerer, seconds=60)
            helped.extend(query.user_id for query in runtime.scorer.asked[begun:])

    monkeypatch.setattr(batch_run._ProgressWatch, "note_answered", help_once)
    batch_run.run_batch_job(job, world.progress.append, batch_inference_job.build_answerer)
    assert helped == ["u2", "u3", "u4", "u5", "u6", "u7"]
    assert [query.user_id for query in runtime.scorer.asked].count("u2") == 1
    assert [each["input"]["userId"] for each in world.results()] == [f"u{n}" for n in range(8)]


def test_help_for_a_job_that_has_not_begun_or_has_ended_does_nothing(world: BatchWorld, runtime: Runtime) -> None:
    job = world.job()
    assert batch_run.help_batch_job(job, batch_inference_job.build_answerer, seconds=60) == {}
    world.give("users.json", {"userId": "u"})
    world.run(UP, job)
    job.artifacts.discard_workspace(JOB)
    assert batch_run.help_batch_job(job, batch_inference_job.build_answerer, seconds=60) == {}
    assert len(runtime.scorer.asked) == 1
    assert not job.artifacts.get_workspace(JOB).exists()
