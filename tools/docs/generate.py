"""Writes the pages of docs/ that repeat declarations of the code.

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
from tools.docs import remarks, traced
from tools.docs.quotas import build_quota_page

FOLDER = Path(__file__).parent.parent.parent / "docs"
HEAD = "<!-- Written by `python -m tools.docs.generate` from the code. Change the code, not this page. -->\n\n"


def build_operation_page() -> str:
    offered = _collect_handlers()
    total = sum(len(service_model.load_operations(service)) for service in service_model.SERVICES)
    lines = [
        "# Operations\n",
        f"The three services have {total} operations. Each request is checked by AWS's service model. An operation",
        "that is not offered answers every valid request with `UnsupportedOperationException`.\n",
        f"Offered: {sum(len(offered[service]) for service in service_model.SERVICES)} of {total}.\n",
        "`tests/conformance` sends valid and invalid requests to all of them. Rules are those of Amazon Personalize,",
        "by the numbers at the end of this page.\n",
    ]
    for service in service_model.SERVICES:
        lines += [f"## {service}\n", *_build_operation_rows(service, offered[service]), ""]
    lines += [
        f"## {service_model.OWN_SERVICE}\n",
        "Operations that AWS does not have, at the address of `personalize`, with the same signatures. Their service",
        "model has AWS's format: a botocore client can call them if its loader searches `shared/aws/models/`.\n",
        *_build_operation_rows(service_model.OWN_SERVICE, offered[service_model.OWN_SERVICE]),
        "",
    ]
    lines += ["## Rules\n", "| number | subject |", "|---|---|"]
    lines += [f"| {number} | {subject} |" for number, subject in traced.SUBJECTS.items()]
    return "\n".join([*lines, ""])


def _build_operation_rows(service: str, offered: Mapping[str, app.OperationHandler]) -> Iterable[str]:
    yield "| operation | answered by | tested in | rules | remarks |"
    yield "|---|---|---|---|---|"
    for name in sorted(service_model.load_operations(service)):
        handler = offered.get(name)
        cells = (
            traced.describe_handler(handler) if handler else "not yet",
            ", ".join(f"`{path}`" for path in traced.find_tests(name)),
            ", ".join(traced.find_rules(name)),
            remarks.join_remarks(name),
        )
        yield f"| {name} | {' | '.join(cells)} |"


def _collect_handlers() -> Mapping[str, Mapping[str, app.OperationHandler]]:
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


def build_recipe_page() -> str:
    lines = ["# Recipes\n", "Hyperparameters are strings in requests. T: tunable by HPO at AWS.\n"]
    for recipe in recipes.RECIPES.values():
        lines += [f"## {recipe.name}\n", f"{recipe.description}\n", *_build_recipe_lines(recipe), ""]
    return "\n".join(lines)


def _build_recipe_lines(recipe: Recipe) -> Iterable[str]:
    yield f"* recipe: `{recipe.arn}`, type {recipe.recipe_type}, training modes {', '.join(recipe.training.modes)}"
    if recipe.domain:
        yield f"* a use case of {recipe.domain}, for CreateRecommender"
    yield f"* algorithm: `{recipe.algorithm_arn}`"
    if recipe.feature_transformation:
        yield f"* feature transformation: `{recipe.feature_transformation_arn}`"
    yield f"* trains on: {_describe_training_data(recipe)}"
    required = " and ".join(recipe.serving.required_members) or "nothing"
    yield f"* a request needs: {required}; {_describe_answers(recipe)}"
    if recipe.inert:
        yield f"* accepted, because AWS prints it, and without effect: {', '.join(p.name for p in recipe.inert)}"
    for p in recipe.hyperparameters:
        if p.aliases:
            yield f"* {p.name} is also accepted as {', '.join(p.aliases)}"
    yield f"* code and numbers: `{recipe.module.replace('.', '/')}/`"
    if not recipe.hyperparameters:
        return
    yield "\n| hyperparameter | kind | type | default | range | T |"
    yield "|---|---|---|---|---|---|"
    for p in recipe.hyperparameters:
        range_ = "above 0" if p.positive else ", ".join(p.choices) or f"[{p.minimum:g}, {p.maximum:g}]"
        tunable = "only by HPO" if p.only_tuned else "yes" if p.tunable else ""
        yield f"| {p.name} | {p.kind} | {p.type} | {p.default} | {range_} | {tunable} |"


def _describe_training_data(recipe: Recipe) -> str:
    of_type = f" of type {recipe.training.event_type}" if recipe.training.event_type else ""
    interactions, described = recipe.interactions.title(), recipe.catalogue.title()
    if not recipe.training.uses_metadata:
        return f"{interactions}{of_type}"
    knows = "knows" if recipe.recipe_type == "USER_SEGMENTATION" else "recommends"
    noun = described.removesuffix("s").lower()
    catalogue = f"; {knows} every {noun} of {described}" if recipe.training.cold_items else ""
    return f"{interactions}{of_type} with contextual metadata, {described}, Users{catalogue}"


def _describe_answers(recipe: Recipe) -> str:
    scores = "answers show scores" if recipe.serving.shows_scores else "answers show no scores"
    live = (
        "live events change them"
        if recipe.serving.reads_live_events
        else "live events change them with the next training"
    )
    hidden = (
        f"; never shows items with which the user has an event of type {recipe.serving.hidden_event_type}"
        if recipe.serving.hidden_event_type
        else ""
    )
    return f"{scores}; {live}{hidden}"


def build_setting_page() -> str:
    lines = [
        "# Settings\n",
        "Every process reads its settings from the environment, once, when it starts. *also _FILE*: the variable with",
        "`_FILE` at its end may name a file that contains the value.\n",
        "| variable | default | meaning |",
        "|---|---|---|",
    ]
    defaults = Settings()
    for field in fields(Settings):
        default = getattr(defaults, field.name)
        shown = "" if default in (None, {}) else f"`{str(default).lower() if isinstance(default, bool) else default}`"
        lines.append(f"| `FORETASTE_{field.name.upper()}` | {shown} | {field.metadata['meaning']} |")
    return "\n".join([*lines, ""])


def build_lifecycle_page() -> str:
    lines = [
        "# Lifecycles\n",
        "Drawn from `shared/state/lifecycle.py`. An arrow in capitals is a client's request; any other arrow is a fact",
        "that a worker or runtime reports. A pair of status and fact without an arrow changes nothing.\n",
    ]
    by_table: dict[int, list[str]] = {}
    for resource in RESOURCES.values():
        by_table.setdefault(id(resource.lifecycle), []).append(resource.name)
    for resource in RESOURCES.values():
        names = by_table.pop(id(resource.lifecycle), None)
        if names is None:
            continue
        if resource.lifecycle is None:
            lines.append(f"## {', '.join(names)}\n\nWithout a status: usable at once.\n")
            continue
        lines += [f"## {', '.join(names)}\n", *_draw_lifecycle(resource.lifecycle), ""]
    lines += ["## An update of a campaign (`latestCampaignUpdate`)\n", *_draw_lifecycle(lifecycle.UPDATE), ""]
    lines += ["## An update of a dataset (its own `status`)\n", *_draw_lifecycle(lifecycle.UPDATE_IN_PLACE), ""]
    return "\n".join(lines)


def _draw_lifecycle(table: lifecycle.Lifecycle) -> Iterable[str]:
    yield "```mermaid\nstateDiagram-v2"
    yield f"    [*] --> {_format_state(table.first)}"
    for (status, what), after in table.transitions.items():
        if after == status:
            continue
        word = what.upper() if isinstance(what, lifecycle.TransitionRequest) else what
        yield f"    {_format_state(status)} --> {_format_state(after)}: {word}"
    yield "```"


def _format_state(status: str) -> str:
    return status.replace(" ", "_") if status != lifecycle.GONE else "[*]"


def build_message_page() -> str:
    lines = [
        "# Messages\n",
        "All messages on the queues, from `shared/state/messages.py`. The first half of a wire name is the queue.\n",
        "| message | wire name | fields | meaning |",
        "|---|---|---|---|",
    ]
    for message in (*messages.COMMANDS, *messages.FACTS):
        named = ", ".join(field.name for field in fields(message))
        meaning = " ".join((message.__doc__ or "").split())
        lines.append(f"| {message.__name__} | `{message.wire}` | {named} | {meaning} |")
    return "\n".join([*lines, ""])


PAGES: Mapping[str, Callable[[], str]] = {
    "lifecycles.md": build_lifecycle_page,
    "messages.md": build_message_page,
    "operations.md": build_operation_page,
    "quotas.md": build_quota_page,
    "recipes.md": build_recipe_page,
    "settings.md": build_setting_page,
}


def find_outdated_pages() -> list[str]:
    """Return the names of the pages that differ from the code."""
    return [
        name
        for name, page in PAGES.items()
        if not (FOLDER / name).exists() or (FOLDER / name).read_text() != HEAD + page()
    ]


def main() -> None:
    if "--check" in sys.argv:
        if stale := find_outdated_pages():
            sys.exit(f"out of date: {', '.join(stale)}. Run `python -m tools.docs.generate` and commit what it writes.")
        return
    for name, page in PAGES.items():
        (FOLDER / name).write_text(HEAD + page())


if __name__ == "__main__":
    main()
