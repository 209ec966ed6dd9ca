"""Where an operation differs from AWS's: a sentence each, with the test that confirms it.

A test checks that every confirming test exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Remark(NamedTuple):
    """A sentence, or part of one, in Markdown; ``confirmed_by`` is "path/of/test.py::test_name"."""

    text: str
    confirmed_by: str


_OPERATIONS = "tests/operations"
_EVENTS = "tests/unit/services/events/test_put.py"
_CAMPAIGNS = "tests/unit/shared/resources/test_campaigns.py"
_SCHEDULE = "tests/unit/services/status/test_schedule.py"
_SUMS = "tests/unit/services/status/test_attribution.py"

_BATCH = "tests/unit/workers/inference/test_batch_inference_job.py"

_SEGMENTS = "tests/unit/workers/inference/test_batch_segment_job.py"

REMARKS: Mapping[str, tuple[Remark, ...]] = {
    "CreateSolution": (
        Remark(
            "`performHPO` and `performAutoML` train trials before each version (`foretaste hpo` shows them)",
            "tests/unit/shared/resources/test_solution_versions.py::test_hpo_and_automl_come_before_the_training",
        ),
        Remark(
            "`performAutoTraining` is true by default, as at AWS, but has an effect only if the setting "
            "`FORETASTE_AUTO_TRAINING` is true",
            f"{_SCHEDULE}::test_the_setting_switches_all_of_it_off",
        ),
        Remark(
            "`hpoObjective` is kept and ignored, as at AWS, unless the setting `FORETASTE_HPO_OBJECTIVE` is true",
            "tests/unit/workers/test_tuner_ends.py::test_hpo_objective_acts_where_a_setting_says_so",
        ),
    ),
    "UpdateSolution": (
        Remark(
            "another rate restarts the schedule, as at AWS; see CreateSolution",
            f"{_SCHEDULE}::test_another_rate_begins_anew_within_the_hour_and_the_same_changes_nothing",
        ),
    ),
    "CreateSolutionVersion": (
        Remark(
            "`trainingMode` AUTOTRAIN is refused",
            f"{_OPERATIONS}/test_solution_versions.py::test_a_mode_the_recipe_does_not_have_is_refused",
        ),
    ),
    "CreateCampaign": (
        Remark(
            "`minProvisionedTPS` is kept and returned, and has no effect",
            f"{_CAMPAIGNS}::test_it_waits_for_a_runtime_and_shows_no_update",
        ),
        Remark(
            "a campaign with `syncWithLatestSolutionVersion` shows its current version, and moves to each new version "
            "with training mode FULL",
            f"{_OPERATIONS}/test_campaigns.py::test_one_that_follows_its_solution_moves_to_its_new_version",
        ),
    ),
    "UpdateCampaign": (
        Remark(
            "as CreateCampaign; an update that changes nothing is accepted",
            f"{_CAMPAIGNS}::test_an_update_with_nothing_new_is_accepted",
        ),
    ),
    "CreateDatasetImportJob": (
        Remark(
            "`roleArn` is kept and returned; the importing process reads with its own access rights",
            f"{_OPERATIONS}/test_dataset_import_jobs.py::test_it_works_and_echoes_what_it_was_given",
        ),
        Remark(
            "a few unreadable cells become null ([imports](user/imports.md))",
            f"{_OPERATIONS}/test_dataset_import_jobs.py"
            "::test_cells_that_were_not_taken_and_files_that_were_skipped_are_told_in_a_header",
        ),
    ),
    "DescribeDatasetImportJob": (
        Remark(
            "the header `x-foretaste-remarks` lists cells that became null and files that were skipped",
            f"{_OPERATIONS}/test_dataset_import_jobs.py"
            "::test_cells_that_were_not_taken_and_files_that_were_skipped_are_told_in_a_header",
        ),
    ),
    "CreateBatchInferenceJob": (
        Remark(
            "`aws-next-best-action` is accepted too, with the output `recommendedActions` "
            "([batch inference](user/batch-inference.md))",
            f"{_BATCH}::test_actions_are_recommended",
        ),
        Remark(
            "`roleArn` is kept and returned; the inference process reads and writes with its own access rights",
            f"{_OPERATIONS}/test_batch_inference_jobs.py::test_it_works",
        ),
    ),
    "DescribeBatchInferenceJob": (
        Remark(
            "the header `x-foretaste-remarks` has the numbers of lines and of those that failed",
            f"{_OPERATIONS}/test_batch_inference_jobs.py::test_it_works",
        ),
    ),
    "CreateBatchSegmentJob": (
        Remark(
            "the output has `usersList`, as AWS's own files have it ([batch segments](user/batch-segments.md))",
            f"{_OPERATIONS}/test_batch_segment_jobs.py"
            "::test_an_item_gets_its_users_with_events_after_the_training_and_a_filter",
        ),
        Remark(
            "a FULL import after the training replaces the users' histories, and an INCREMENTAL one does not count",
            f"{_SEGMENTS}::test_a_full_import_after_the_training_replaces_the_users",
        ),
    ),
    "CreateDatasetExportJob": (
        Remark(
            "a dataset without records is exported as a file with a header alone",
            "tests/unit/workers/test_export_job.py::test_nothing_to_export_is_a_file_with_the_header_alone",
        ),
    ),
    "CreateDataDeletionJob": (
        Remark(
            "waits for trainings that may have read the users ([deletion](user/export-and-deletion.md))",
            "tests/unit/workers/test_deletion_job.py"
            "::test_a_training_that_may_have_read_the_data_ends_first_and_loses_the_users",
        ),
        Remark(
            "what models have learnt stays until the next training, as at AWS; the users are strangers to every model",
            "tests/recipes/test_user_removal.py::test_the_users_are_unknown_and_all_others_as_they_were",
        ),
    ),
    "UpdateDataset": (
        Remark(
            "solutions from before do not train on the new columns",
            "tests/unit/services/api/test_update_dataset.py::test_columns_are_new_to_whom_they_came_later",
        ),
        Remark(
            "refused while an import into the dataset is in progress",
            "tests/unit/services/api/test_update_dataset.py::test_it_must_be_active_and_no_import_may_be_under_way",
        ),
    ),
    "PutEvents": (
        Remark("`sentAt` may be in milliseconds", f"{_EVENTS}::test_what_is_plainly_milliseconds_is_taken_as_such"),
        Remark(
            "an event without `itemId`, which nothing can use, is kept, counted and logged "
            "([how](observability.md#logs))",
            f"{_EVENTS}::test_events_that_name_no_item_are_kept_and_told_of_once_an_hour",
        ),
        Remark(
            "for recipes that explore, `recommendationId` stands for the impression of that answer during an hour",
            f"{_EVENTS}::test_an_event_that_names_a_recommendation_tells_what_was_shown_there",
        ),
        Remark(
            "`recommendationId` and `metricAttribution` name the source of an event for "
            "[metric attributions](user/metric-attribution.md)",
            f"{_SUMS}::test_events_count_under_their_own_source_else_the_campaign_of_their_recommendation",
        ),
    ),
    "PutActionInteractions": (
        Remark(
            "`Viewed`, `Taken` and `Not Taken` in any case",
            f"{_EVENTS}::test_an_action_interaction_is_kept_in_aws_spelling",
        ),
        Remark(
            "`trackingId` is the one that DescribeDataset returns",
            f"{_EVENTS}::test_a_tracking_id_leads_to_what_it_was_given_for",
        ),
        Remark("`timestamp` may be in milliseconds", f"{_EVENTS}::test_what_is_plainly_milliseconds_is_taken_as_such"),
    ),
    "GetRecommendations": (
        Remark(
            "filters see a new import or put record within seconds, and an event at once",
            f"{_OPERATIONS}/test_filters.py::test_what_was_bought_is_hidden_at_once_and_a_put_item_is_filtered_soon",
        ),
        Remark(
            "`aws-user-personalization-v2` answers unknown users with popular items without scores, with the reason "
            "`Popular item`, as AWS's placeholders have it",
            "tests/unit/shared/serving/test_reasons.py::test_who_is_unknown_is_shown_popular_items_which_have_no_score",
        ),
    ),
    "GetPersonalizedRanking": (
        Remark(
            "a filter leaves items out of the answer, and does not change the scores of the rest",
            "tests/unit/shared/serving/test_filters.py"
            "::test_a_ranking_leaves_out_what_the_filter_does_and_keeps_the_scores",
        ),
    ),
    "CreateMetricAttribution": (
        Remark(
            "sums are read by ListMetricAttributionValues and from `/metrics` instead of CloudWatch "
            "([how](user/metric-attribution.md))",
            f"{_SUMS}::test_the_values_of_a_window_are_summed_by_period_with_a_rate",
        ),
        Remark(
            "events of further sources than a hundred are counted as `SOURCE_LIMIT_EXCEEDED`",
            f"{_SUMS}::test_a_hundred_sources_are_told_apart",
        ),
    ),
    "UpdateMetricAttribution": (
        Remark(
            "a metric that is removed keeps its sums, and one that is added counts from the request on",
            f"{_SUMS}::test_an_update_ends_what_is_removed_and_begins_what_is_added",
        ),
    ),
    "ListMetricAttributionValues": (
        Remark(
            "`foretaste attribution` prints them", "tests/unit/services/cli/test_attribution_command.py::test_it_works"
        ),
    ),
    "ListTrials": (Remark("`foretaste hpo` prints it", "tests/unit/services/cli/test_hpo_command.py::test_it_works"),),
}


def join_remarks(operation: str) -> str:
    """Return the remarks on an operation as one cell of a table; "" where it has none."""
    return "; ".join(remark.text for remark in REMARKS.get(operation, ()))
