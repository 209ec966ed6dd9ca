"""``foretaste up``: the local system, until it is told to stop."""

from __future__ import annotations

import threading
from pathlib import Path

import click

from services.cli.local import signals
from services.cli.options import DEFAULT_DATA_DIR, Mount, appendfsync


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_DATA_DIR,
    envvar="FORETASTE_DATA_DIR",
    show_default=True,
    help="Folder for all state: resources, data, models, keys, logs.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="IPv4 address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0: any free port.")
@click.option(
    "--bucket", "buckets", type=Mount(), multiple=True, help="Mount a folder, read-only, as the bucket s3://NAME."
)
@click.option(
    "--training-workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Trainings at a time, and so trials of HPO and AutoML. They share the machine's cores.",
)
@click.option(
    "--inference-workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Workers of batch jobs, which share the lines of a job.",
)
@appendfsync
def up(
    data_dir: Path,
    host: str,
    port: int,
    buckets: tuple[tuple[str, Path], ...],
    training_workers: int,
    inference_workers: int,
    appendfsync: str,
) -> None:
    """Start the whole service on this machine and keep it running until Ctrl-C or SIGTERM.

    Prints one line when it is ready. A client needs the variables in DATA_DIR/client.env. Everything is found
    again at the next start on the same folder.
    """
    from services.cli.local.system import SystemOptions, run_local_system

    wishes = SystemOptions(
        data_dir=data_dir,
        host=host,
        port=port,
        buckets=dict(buckets),
        appendfsync=appendfsync,
        training_workers=training_workers,
        inference_workers=inference_workers,
    )
    stopping = threading.Event()
    with signals.note_signals(stopping), run_local_system(wishes, say=_print_line, stopping=stopping) as system:
        if not stopping.is_set():
            click.echo(f"foretaste is ready at {system.url}; for clients: source {system.data_dir.client_env}")
        system.supervisor.watch(stopping)


def _print_line(sentence: str) -> None:
    click.echo(f"foretaste: {sentence}", err=True)
