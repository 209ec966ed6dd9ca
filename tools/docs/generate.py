"""Writes the pages of docs/ that repeat what the code declares.

    python -m tools.docs.generate [--check]

A page that is out of date fails ``make check`` and the test suite.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path

from services.api import app as api
from services.api.context import ApiContext
from services.events import app as events
from services.runtime import app as runtime
from shared import recipes
from shared.aws import service_model
from shared.http import app
from shared.jobs import celery_app
from shared.recipes import Recipe
from shared.resources import RESOURCES, ResourceReader
from shared.settings import Settings
from shared.state import lifecycle, messages
from shared.storage.artifacts import Artifacts
from shared.store.memory import MemoryStore
from tools.docs import traced

FOLDER = Path(__file__).parent.parent.parent / "docs"
HEAD = "<!-- Written by `python -m tools.docs.generate` from the code. Change the code, not this page. -->\n\n"

_DECLINED = (
    "the request is checked, kept and answered as at AWS, but the work comes in a later release: for now the job ends "
    "failed, with a failureReason that says so"
)

#: What an operation or a member does otherwise than at AWS, or not yet; said here so that nobody has to find out.
NOTES: Mapping[str, str] = {
    "CreateSolution": "`performHPO` and `performAutoML` train trials before each version (`foretaste hpo` shows them); "
    "`performAutoTraining` is true by default, as at AWS, and acts only "
    "where the setting `FORETASTE_AUTO_TRAINING` allows it; `hpoObjective` is kept and not read, as at AWS, unless "
    "`FORETASTE_HPO_OBJECTIVE` has it act",
    "UpdateSolution": "another rate begins the schedule anew, as at AWS; see CreateSolution",
    "CreateSolutionVersion": "`trainingMode` AUTOTRAIN is refused",
    "CreateCampaign": "`minProvisionedTPS` is kept and answered; a campaign that follows its solution "
    "(`syncWithLatestSolutionVersion`) shows the version that it has, and moves to each new one that was trained FULL",
    "UpdateCampaign": "as CreateCampaign; an update that changes nothing is accepted",
    "CreateDatasetImportJob": "`roleArn` is kept and answered: access is that of the importing process; a few "
    "cells that cannot be read are null: docs/user/imports.md",
    "DescribeDatasetImportJob": "the header `x-foretaste-remarks` tells what was not taken: cells that are null, files "
    "that were skipped",
    "CreateBatchInferenceJob": _DECLINED,
    "CreateBatchSegmentJob": _DECLINED,
    "CreateDatasetExportJob": _DECLINED,
    "CreateDataDeletionJob": f"{_DECLINED}. Nothing is deleted",
    "UpdateDataset": "solutions that were made before it leave the new columns out of their training; refused while an "
    "import into the dataset is under way",
    "PutEvents": "`sentAt` may be in milliseconds; an event without `itemId`, which nothing can use, is kept, counted "
    "and logged ([how](observability.md#logs)); of the lists of recipes that explore, `recommendationId` stands for "
    "the impression during an hour; `metricAttribution` is kept with the event and not used yet",
    "PutActionInteractions": "`Viewed`, `Taken` and `Not Taken` in any case; `trackingId` is that of DescribeDataset; "
    "`timestamp` may be in milliseconds",
    "GetRecommendations": "filters see a new import or put record within seconds, an event at once; who is unknown to "
    "`aws-user-personalization-v2` is answered without scores what is a `Popular item`, as AWS's placeholders are",
    "GetPersonalizedRanking": "what a filter takes away is not answered, and changes no score of the rest",
    "CreateMetricAttribution": "kept and checked as at AWS; nothing is measured or reported yet",
    "UpdateMetricAttribution": "as CreateMetricAttribution",
    "ListTrials": "`foretaste hpo` prints it",
}


def operations() -> str:
    offered = _offered()
    lines = [
        "# Operations\n",
        "All 79 operations of the three services are known: each request is checked by AWS's service model. One that",
        "is not offered yet answers `UnsupportedOperationException`, whatever the request.\n",
        f"Offered: {sum(len(offered[service]) for service in service_model.SERVICES)} of "
        f"{sum(len(service_model.load_operations(service)) for service in service_model.SERVICES)}.\n",
        "`tests/conformance` asks all of them for what is right and what is wrong. Rules are those of Amazon",
        "Personalize, by the numbers at the end of this page.\n",
    ]
    for service in service_model.SERVICES:
        lines += [f"## {service}\n", *_operation_table(service, offered[service]), ""]
    lines += [
        f"## {service_model.OWN_SERVICE}\n",
        "What AWS has no operation for, at the address of `personalize`, signed alike. It is described in AWS's own",
        "language: any client of botocore can call it whose loader searches `shared/aws/models/`.\n",
        *_operation_table(service_model.OWN_SERVICE, offered[service_model.OWN_SERVICE]),
        "",
    ]
    lines += ["## Rules\n", "| number | subject |", "|---|---|"]
    lines += [f"| {number} | {subject} |" for number, subject in traced.SUBJECTS.items()]
    return "\n".join([*lines, ""])


def _operation_table(service: str, offered: Mapping[str, app.OperationHandler]) -> Iterable[str]:
    yield "| operation | answered by | tested in | rules | remarks |"
    yield "|---|---|---|---|---|"
    for name in sorted(service_model.load_operations(service)):
        handler = offered.get(name)
        cells = (
            traced.function(handler) if handler else "not yet",
            ", ".join(f"`{path}`" for path in traced.tests(name)),
            ", ".join(traced.rules(name)),
            NOTES.get(name, ""),
        )
        yield f"| {name} | {' | '.join(cells)} |"


def _offered() -> Mapping[str, Mapping[str, app.OperationHandler]]:
    configured, store = Settings(), MemoryStore()
    context = ApiContext(
        store, celery_app.MessageQueue(celery_app.create_celery_app(configured)), ResourceReader(store, configured)
    )
    serving = runtime.create_context(configured, store, Artifacts(configured.artifacts))
    return {
        "personalize": api.build_handlers(context),
        "personalize-runtime": runtime.create_handlers(serving),
        "personalize-events": events.build_handlers(configured, store),
        service_model.OWN_SERVICE: api.build_own_handlers(context),
    }


def recipe_pages() -> str:
    lines = ["# Recipes\n", "Values are strings on the wire. T: tunable by HPO at AWS.\n"]
    for recipe in recipes.RECIPES.values():
        lines += [f"## {recipe.name}\n", f"{recipe.description}\n", *_recipe_table(recipe), ""]
    return "\n".join(lines)


def _recipe_table(recipe: Recipe) -> Iterable[str]:
    yield f"* recipe: `{recipe.arn}`, type {recipe.recipe_type}, training modes {', '.join(recipe.training.modes)}"
    if recipe.domain:
        yield f"* a use case of {recipe.domain}, for CreateRecommender"
    yield f"* algorithm: `{recipe.algorithm_arn}`"
    if recipe.feature_transformation:
        yield f"* feature transformation: `{recipe.feature_transformation_arn}`"
    yield f"* trains on: {_trained_on(recipe)}"
    yield f"* a request needs: {' and '.join(recipe.serving.required_members) or 'nothing'}; {_answered(recipe)}"
    if recipe.inert:
        yield f"* taken as AWS prints it, without effect: {', '.join(p.name for p in recipe.inert)}"
    for p in recipe.hyperparameters:
        if p.aliases:
            yield f"* {p.name} is also taken as {', '.join(p.aliases)}"
    yield f"* code and numbers: `{recipe.module.replace('.', '/')}/`"
    if not recipe.hyperparameters:
        return
    yield "\n| hyperparameter | kind | type | default | range | T |"
    yield "|---|---|---|---|---|---|"
    for p in recipe.hyperparameters:
        range_ = "above 0" if p.positive else ", ".join(p.choices) or f"[{p.minimum:g}, {p.maximum:g}]"
        tunable = "only so" if p.only_tuned else "yes" if p.tunable else ""
        yield f"| {p.name} | {p.kind} | {p.type} | {p.default} | {range_} | {tunable} |"


def _trained_on(recipe: Recipe) -> str:
    of_type = f" of type {recipe.training.event_type}" if recipe.training.event_type else ""
    interactions, described = recipe.interactions.title(), recipe.catalogue.title()
    if not recipe.training.uses_metadata:
        return f"{interactions}{of_type}"
    knows = "knows" if recipe.recipe_type == "USER_SEGMENTATION" else "recommends"
    noun = described.removesuffix("s").lower()
    catalogue = f"; {knows} every {noun} of {described}" if recipe.training.cold_items else ""
    return f"{interactions}{of_type} with contextual metadata, {described}, Users{catalogue}"


def _answered(recipe: Recipe) -> str:
    scores = "answers show scores" if recipe.serving.shows_scores else "answers show no scores"
    live = (
        "live events change them"
        if recipe.serving.reads_live_events
        else "live events change them with the next training"
    )
    hidden = (
        f"; never shows what the user has events of type {recipe.serving.hidden_event_type} with"
        if recipe.serving.hidden_event_type
        else ""
    )
    return f"{scores}; {live}{hidden}"


def setting_page() -> str:
    lines = [
        "# Settings\n",
        "Every process reads its settings from the environment, once, when it starts. *also _FILE*: the value may",
        "lie in a file whose path stands in the variable with `_FILE` at its end.\n",
        "| variable | default | meaning |",
        "|---|---|---|",
    ]
    defaults = Settings()
    for field in fields(Settings):
        default = getattr(defaults, field.name)
        shown = "" if default in (None, {}) else f"`{str(default).lower() if isinstance(default, bool) else default}`"
        lines.append(f"| `FORETASTE_{field.name.upper()}` | {shown} | {field.metadata['meaning']} |")
    return "\n".join([*lines, ""])


def lifecycle_page() -> str:
    lines = [
        "# Lifecycles\n",
        "Drawn from `shared/state/lifecycle.py`. Arrows in capitals are what a client asks; the others are facts that",
        "workers and runtimes report. A pair that is not drawn changes nothing.\n",
    ]
    by_table: dict[int, list[str]] = {}
    for resource in RESOURCES.values():
        by_table.setdefault(id(resource.lifecycle), []).append(resource.name)
    for resource in RESOURCES.values():
        names = by_table.pop(id(resource.lifecycle), None)
        if names is None:
            continue
        if resource.lifecycle is None:
            lines.append(f"## {', '.join(names)}\n\nNo status: usable at once.\n")
            continue
        lines += [f"## {', '.join(names)}\n", *_drawing(resource.lifecycle), ""]
    lines += ["## An update of a campaign (`latestCampaignUpdate`)\n", *_drawing(lifecycle.UPDATE), ""]
    lines += ["## An update of a dataset (its own `status`)\n", *_drawing(lifecycle.UPDATE_IN_PLACE), ""]
    return "\n".join(lines)


def _drawing(table: lifecycle.Lifecycle) -> Iterable[str]:
    yield "```mermaid\nstateDiagram-v2"
    yield f"    [*] --> {_box(table.first)}"
    for (status, what), after in table.transitions.items():
        if after == status:
            continue
        word = what.upper() if isinstance(what, lifecycle.TransitionRequest) else what
        yield f"    {_box(status)} --> {_box(after)}: {word}"
    yield "```"


def _box(status: str) -> str:
    return status.replace(" ", "_") if status != lifecycle.GONE else "[*]"


def message_page() -> str:
    lines = [
        "# Messages\n",
        "What crosses the queue, from `shared/state/messages.py`. The first half of a wire name is the queue.\n",
        "| message | wire name | fields | meaning |",
        "|---|---|---|---|",
    ]
    for message in (*messages.COMMANDS, *messages.FACTS):
        named = ", ".join(field.name for field in fields(message))
        meaning = " ".join((message.__doc__ or "").split())
        lines.append(f"| {message.__name__} | `{message.wire}` | {named} | {meaning} |")
    return "\n".join([*lines, ""])


PAGES: Mapping[str, Callable[[], str]] = {
    "lifecycles.md": lifecycle_page,
    "messages.md": message_page,
    "operations.md": operations,
    "recipes.md": recipe_pages,
    "settings.md": setting_page,
}


def outdated() -> list[str]:
    """The pages that do not say what the code says."""
    return [
        name
        for name, page in PAGES.items()
        if not (FOLDER / name).exists() or (FOLDER / name).read_text() != HEAD + page()
    ]


def main() -> None:
    if "--check" in sys.argv:
        if stale := outdated():
            sys.exit(f"out of date: {', '.join(stale)}. Run `python -m tools.docs.generate` and commit what it writes.")
        return
    for name, page in PAGES.items():
        (FOLDER / name).write_text(HEAD + page())


if __name__ == "__main__":
    main()
