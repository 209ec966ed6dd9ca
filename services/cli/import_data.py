"""``foretaste import``: the CSV files of a folder into a dataset group."""

from __future__ import annotations

import secrets
import shutil
import time
from pathlib import Path

import click

from services.cli import screen
from services.cli.options import DEFAULT_DATA_DIR, client_data_dir, name_option
from services.cli.screen import step


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

    Schemas follow from the files' headers and values. Dataset group, datasets and schemas are made if they
    are not there; the data replace what was imported before.
    """
    from services.cli import tables
    from services.cli.client import connect, environment
    from services.cli.life import Life, may_be_left

    life = Life(connect(environment(data_dir, DEFAULT_DATA_DIR)), name)
    click.get_current_context().with_resource(may_be_left(life, "Files that were not imported yet are left out."))
    console = screen.console()
    found = tables.read(folder)
    job = f"{name[:40]}-{time.strftime('%Y%m%d%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"
    with step(console, "dataset group") as shown:
        group = life.dataset_group(shown.watch)
    for table in found:
        with step(console, table.dataset_type.lower()) as shown:
            if bucket is None:
                _copy(table.path, _bucket(data_dir or DEFAULT_DATA_DIR, name))
            dataset = life.dataset(group, table.dataset_type, table.schema, shown.watch)
            shown.rows = table.rows
            location = f"s3://{bucket or name}/{table.path.name}"
            life.dataset_import(dataset, f"{job}-{table.dataset_type.lower()}", location, shown.watch)
            shown.conclude(f"{table.rows:,} rows of {location}")


def _bucket(data_dir: Path, name: str) -> Path:
    """The folder of a bucket of that name, on the machine where the server runs."""
    from services.cli.data_dir import DataDir

    buckets = DataDir(data_dir).buckets
    if not buckets.is_dir():
        raise click.UsageError(
            f"{buckets} is no folder: the server's files are not on this machine, or its --data-dir is another one. "
            "Name the bucket that holds the files with --bucket."
        )
    bucket = buckets / name
    bucket.mkdir(exist_ok=True)
    return bucket


def _copy(path: Path, bucket: Path) -> None:
    # Under its name only when it is whole: an import may be reading the file it replaces.
    partial = bucket / f".{path.name}.partial"
    shutil.copyfile(path, partial)
    partial.replace(bucket / path.name)
