"""``foretaste import``: the CSV files of a folder into a dataset group."""

from __future__ import annotations

import secrets
import shutil
import time
from pathlib import Path

import click

from services.cli import screen
from services.cli.options import DEFAULT_DATA_DIR, client_data_dir, name_option
from services.cli.screen import show_step


@click.command("import")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@name_option
@click.option(
    "--bucket",
    metavar="BUCKET",
    help="Bucket that FOLDER is mounted as (`up --bucket BUCKET=FOLDER`), or that holds the same files. "
    "[default: a bucket NAME in the server's data dir, to which the files are copied]",
)
@client_data_dir
def import_data(folder: Path, name: str, bucket: str | None, data_dir: Path | None) -> None:
    """Import FOLDER's interactions.csv, items.csv and users.csv.

    Schemas follow from the files' headers and values. Dataset group, datasets and schemas are created if they
    do not exist, and only after all files were understood. The data replace earlier imports.
    """
    from services.cli.client import connect, find_client_variables, find_server_dir
    from services.cli.data import tables
    from services.cli.resource_life import ResourceLife, read_remarks, stop_on_interrupt

    life = ResourceLife(connect(find_client_variables(data_dir, DEFAULT_DATA_DIR)), name)
    click.get_current_context().with_resource(stop_on_interrupt(life, "Files that were not imported yet are left out."))
    console = screen.create_console()

    def say(sentence: str) -> None:
        console.print(sentence, style="yellow", markup=False)

    found = tables.read_tables(folder, say, life.get_existing_schemas())
    copies = None if bucket else _create_bucket(find_server_dir(data_dir, DEFAULT_DATA_DIR), name)
    job = f"{name[:40]}-{time.strftime('%Y%m%d%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"
    with show_step(console, "dataset group") as shown:
        group = life.create_dataset_group(shown.watch)
    for table in found:
        with show_step(console, table.dataset_type.lower()) as shown:
            if copies is not None:
                _copy_to_bucket(table.path, copies)
            dataset = life.create_dataset(group, table.dataset_type, table.schema, shown.watch)
            shown.rows = table.rows
            location = f"s3://{bucket or name}/{table.path.name}"
            arn = life.import_dataset(dataset, f"{job}-{table.dataset_type.lower()}", location, shown.watch)
            told = read_remarks(life.aws, "dataset_import_job", arn)
            words = screen.describe_remarks(told)
            shown.conclude(f"{table.rows:,} rows of {location}{words and f'; {words}'}")
        for sentence in told.get("first", ()):
            say(sentence)


def _create_bucket(data_dir: Path, name: str) -> Path:
    """The folder of a bucket of that name, on the machine where the server runs."""
    from services.cli.local.data_dir import DataDir

    buckets = DataDir(data_dir).buckets
    if not buckets.is_dir():
        raise click.UsageError(
            f"{buckets} is no folder: the server's files are not on this machine, or its --data-dir is another one. "
            "Name the bucket that holds the files with --bucket."
        )
    bucket = buckets / name
    bucket.mkdir(exist_ok=True)
    return bucket


def _copy_to_bucket(path: Path, bucket: Path) -> None:
    # Under its name only when it is whole: an import may be reading the file it replaces.
    partial = bucket / f".{path.name}.partial"
    shutil.copyfile(path, partial)
    partial.replace(bucket / path.name)
