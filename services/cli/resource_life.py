"""The steps of a recommender's life, as any boto3 client takes them: each creates, then waits until it is usable.

A step may be repeated: a resource that exists under the name is reused. So a server may die after it created a resource
and before it answered.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from services.cli.client import BASELINE, PROGRESS, REMARKS, REPORT, Personalize, read_json_header
from services.cli.errors import CreationFailed
from services.cli.local import signals
from services.cli.options import DEFAULT_RECIPE
from shared.data import schemas
from shared.data.schemas import DatasetSchema
from shared.state.lifecycle import ACTIVE, CREATE_FAILED, CREATE_STOPPED, TERMINAL

POLL_SECONDS = 0.5
INTERRUPTED = 130  # what shells expect of a command that Ctrl-C has ended
ROLE = "arn:aws:iam::000000000000:role/foretaste"  # must be well-formed; local buckets ask for no role

#: Told how far a resource is: its status, and the progress header when there is one.
Watch = Callable[[str, Mapping[str, Any]], None]
#: A resource as Describe returns it, and its progress.
Described = tuple[Mapping[str, Any], Mapping[str, Any]]


def watch_nothing(_status: str, _progress: Mapping[str, Any]) -> None:
    return


@dataclass(frozen=True)
class VersionMetrics:
    """The metrics of a solution version, and those of the popularity baseline; None where these are unknown."""

    model: Mapping[str, float]
    popularity: Mapping[str, float] | None
    report: Mapping[str, Any]
    """``shared.recipes.training_api.Trained.report``."""


class ResourceLife:
    """The resources of one recommender, all named after it."""

    def __init__(self, aws: Personalize, name: str) -> None:
        self.aws = aws
        self.name = name
        #: The ARN that is waited for now.
        self.awaited: str | None = None

    def create_dataset_group(self, watch: Watch = watch_nothing) -> str:
        arn = self._create_or_find("dataset_group", "list_dataset_groups", name=self.name)
        self.wait_until_usable("dataset_group", arn, watch)
        return arn

    def create_dataset(self, group: str, dataset_type: str, schema: str, watch: Watch = watch_nothing) -> str:
        """The dataset of that type; where there is none it is made with this schema, which is Avro JSON."""
        name = f"{self.name}-{dataset_type.lower()}"
        if (standing := self._list_datasets(group).get(dataset_type.upper())) is not None:
            self.wait_until_usable("dataset", standing, watch)
            return standing
        schema_arn = self._create_schema(name, schema)
        arn = self._create_or_find(
            "dataset",
            "list_datasets",
            within={"datasetGroupArn": group},
            name=name,
            datasetGroupArn=group,
            datasetType=dataset_type,
            schemaArn=schema_arn,
        )
        self.wait_until_usable("dataset", arn, watch)
        return arn

    def get_existing_schemas(self) -> Mapping[str, DatasetSchema]:
        """Dataset type, in capitals -> schema, of the datasets that the group has already."""
        groups = iter_summaries(self.aws, "list_dataset_groups")
        group = next((each["datasetGroupArn"] for each in groups if each["name"] == self.name), None)
        return (
            {kind: self._get_schema(dataset) for kind, dataset in self._list_datasets(group).items()} if group else {}
        )

    def _list_datasets(self, group: str) -> Mapping[str, str]:
        """Dataset type, in capitals -> ARN."""
        datasets = iter_summaries(self.aws, "list_datasets", datasetGroupArn=group)
        return {each["datasetType"].upper(): each["datasetArn"] for each in datasets}

    def _get_schema(self, dataset: str) -> DatasetSchema:
        arn = self.aws.control.describe_dataset(datasetArn=dataset)["dataset"]["schemaArn"]
        found = self.aws.control.describe_schema(schemaArn=arn)["schema"]
        return schemas.parse_schema(found["schema"], domain=found.get("domain"))

    def _create_schema(self, name: str, text: str) -> str:
        """The ARN of a schema with this text; one of that name which an earlier try has left may have another."""
        try:
            return str(self.aws.control.create_schema(name=name, schema=text)["schemaArn"])
        except self.aws.control.exceptions.ResourceAlreadyExistsException:
            for standing in iter_summaries(self.aws, "list_schemas"):
                if standing["name"] == name:
                    found = self.aws.control.describe_schema(schemaArn=standing["schemaArn"])["schema"]
                    if schemas.parse_schema(found["schema"], domain=found.get("domain")) == schemas.parse_schema(text):
                        return str(standing["schemaArn"])
        other = f"{name[:50]}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        return self._create_or_find("schema", "list_schemas", name=other, schema=text)

    def import_dataset(self, dataset: str, job: str, location: str, watch: Watch = watch_nothing) -> str:
        """``location`` is s3://bucket/key."""
        arn = self._create_or_find(
            "dataset_import_job",
            "list_dataset_import_jobs",
            within={"datasetArn": dataset},
            jobName=job,
            datasetArn=dataset,
            dataSource={"dataLocation": location},
            roleArn=ROLE,
        )
        self.wait_until_usable("dataset_import_job", arn, watch)
        return arn

    def create_solution(self, group: str, recipe: str, watch: Watch = watch_nothing) -> str:
        """One for each recipe; that of the default recipe has the recommender's own name."""
        arn = self._create_or_find(
            "solution",
            "list_solutions",
            within={"datasetGroupArn": group},
            name=self.name if recipe == DEFAULT_RECIPE else f"{self.name}-{recipe.removeprefix('aws-')}",
            datasetGroupArn=group,
            recipeArn=f"arn:aws:personalize:::recipe/{recipe}",
            performAutoTraining=False,
        )
        self.wait_until_usable("solution", arn, watch)
        return arn

    def create_solution_version(self, solution: str, watch: Watch = watch_nothing, *, again: bool = True) -> str:
        """A new version; with ``again`` false one that is trained or in training already, if there is one."""
        standing = None if again else self._find_usable_version(solution)
        arn = (
            standing
            or self.aws.control.create_solution_version(solutionArn=solution, trainingMode="FULL")["solutionVersionArn"]
        )
        self.wait_until_usable("solution_version", arn, watch)
        return str(arn)

    def get_metrics(self, version: str) -> VersionMetrics:
        answer = self.aws.control.get_solution_metrics(solutionVersionArn=version)
        return VersionMetrics(
            model=answer["metrics"],
            popularity=read_json_header(answer, BASELINE) or None,
            report=read_json_header(answer, REPORT),
        )

    def deploy_campaign(self, version: str, watch: Watch = watch_nothing) -> str:
        """The campaign, serving this version when the step ends; before, it may have served one of another solution."""
        arn = self._create_or_find(
            "campaign",
            "list_campaigns",
            name=self.name,
            solutionVersionArn=version,
            minProvisionedTPS=1,
        )
        self.wait_until_usable("campaign", arn, watch)
        serving = self.aws.control.describe_campaign(campaignArn=arn)["campaign"]
        if serving["solutionVersionArn"] != version:
            self.aws.control.update_campaign(campaignArn=arn, solutionVersionArn=version)
            self._wait_for_update(arn, watch)
        return arn

    def create_event_tracker(self, group: str, watch: Watch = watch_nothing) -> str:
        """The tracking id under which PutEvents takes events for the group."""
        arn = self._create_or_find(
            "event_tracker",
            "list_event_trackers",
            within={"datasetGroupArn": group},
            name=self.name,
            datasetGroupArn=group,
        )
        self.wait_until_usable("event_tracker", arn, watch)
        return str(self.aws.control.describe_event_tracker(eventTrackerArn=arn)["eventTracker"]["trackingId"])

    def _find_usable_version(self, solution: str) -> str | None:
        for version in iter_summaries(self.aws, "list_solution_versions", solutionArn=solution):
            if version["status"] not in (CREATE_FAILED, CREATE_STOPPED):
                return str(version["solutionVersionArn"])
        return None

    def _create_or_find(
        self, what: str, list_operation: str, *, within: Mapping[str, Any] | None = None, **request: Any
    ) -> str:
        """Create a resource, or find the one of this name; return its ARN."""
        member = get_arn_member(what)
        try:
            return str(getattr(self.aws.control, f"create_{what}")(**request)[member])
        except self.aws.control.exceptions.ResourceAlreadyExistsException:
            name = "jobName" if "jobName" in request else "name"
            for standing in iter_summaries(self.aws, list_operation, **(within or {})):
                if standing[name] == request[name]:
                    return str(standing[member])
            raise

    def wait_until_usable(self, what: str, arn: str, watch: Watch = watch_nothing) -> None:
        """Return when the resource is usable. Raises CreationFailed."""
        self._wait_until_active(arn, arn, lambda: describe_resource(self.aws, what, arn), watch)

    def _wait_for_update(self, campaign: str, watch: Watch) -> None:
        """Raises CreationFailed."""

        def describe_update() -> Described:
            found = self.aws.control.describe_campaign(campaignArn=campaign)["campaign"]
            return found.get("latestCampaignUpdate", found), {}

        self._wait_until_active(campaign, f"the update of {campaign}", describe_update, watch)

    def _wait_until_active(self, arn: str, subject: str, describe: Callable[[], Described], watch: Watch) -> None:
        """Return when ``describe`` shows ACTIVE; ``subject`` is for the message. Raises CreationFailed."""
        self.awaited = arn
        while True:
            found, progress = describe()
            status = found["status"]
            watch(status, progress)
            if status in TERMINAL:
                break
            time.sleep(POLL_SECONDS)
        self.awaited = None
        if status != ACTIVE:
            raise CreationFailed(f"{subject} is {status}: {found.get('failureReason', 'no reason was given')}")


@contextmanager
def stop_on_interrupt(life: ResourceLife, then: str) -> Iterator[None]:
    """Within the block, let Ctrl-C (or SIGTERM) end the command with a sentence on the work that the server continues.

    ``then`` is a second sentence: the steps that remain undone, because this command would have taken them.
    """
    try:
        with signals.raise_on_signal(threading.Event()):
            yield
    except signals.Interrupted:
        goes_on = (
            f"The server goes on with {life.awaited}: `foretaste status --watch` shows how far it is. {then}"
            if life.awaited
            else "What was asked of the server before stands: `foretaste status` shows it."
        )
        click.echo(f"foretaste: stopped waiting. {goes_on}".rstrip(), err=True)
        raise SystemExit(INTERRUPTED) from None


def describe_resource(aws: Personalize, what: str, arn: str) -> Described:
    """Describe a resource, such as a ``solution_version``, and its progress."""
    answer = getattr(aws.control, f"describe_{what}")(**{get_arn_member(what): arn})
    return answer[_convert_to_camel_case(what)], read_json_header(answer, PROGRESS)


def read_remarks(aws: Personalize, what: str, arn: str) -> Mapping[str, Any]:
    """Read the remarks of a job that has ended, such as a ``dataset_import_job``, on its data."""
    return read_json_header(getattr(aws.control, f"describe_{what}")(**{get_arn_member(what): arn}), REMARKS)


def iter_summaries(aws: Personalize, operation: str, **request: Any) -> Iterator[Mapping[str, Any]]:
    """All summaries of a List operation, page by page. (botocore has no paginator for some of them.)"""
    more: dict[str, str] | None = {}
    while more is not None:
        page = getattr(aws.control, operation)(**request, **more)
        yield from next((value for value in page.values() if isinstance(value, list)), ())
        more = {"nextToken": page["nextToken"]} if page.get("nextToken") else None


def get_arn_member(what: str) -> str:
    """AWS's member that holds the ARN of a ``solution_version``: solutionVersionArn."""
    return f"{_convert_to_camel_case(what)}Arn"


def _convert_to_camel_case(what: str) -> str:
    first, *rest = what.split("_")
    return first + "".join(word.capitalize() for word in rest)
