"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

DEFAULT_DATA_DIR = Path("foretaste-data")
DEFAULT_RECIPE = "aws-hrnn"


class Mount(click.ParamType[tuple[str, Path]]):
    """NAME=PATH: a folder to be reached as s3://NAME/."""

    name = "NAME=PATH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Path]:
        name, separator, path = str(value).partition("=")
        if not (name and separator and path):
            self.fail(f"{value!r} is not NAME=PATH", param, ctx)
        if not Path(path).is_dir():
            self.fail(f"{path} is no folder", param, ctx)
        return name, Path(path)


#: For a client: where the keys and the address of its server lie.
client_data_dir = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"Folder of the server to talk to. [default: the environment's AWS_ENDPOINT_URL_PERSONALIZE..., "
    f"else {DEFAULT_DATA_DIR}]",
)
name_option = click.option(
    "--name", required=True, metavar="NAME", help="Name of the dataset group and of all that belongs to it."
)
appendfsync = click.option(
    "--appendfsync",
    type=click.Choice(["everysec", "always"]),
    default="everysec",
    show_default=True,
    help="When Redis writes to the disk for good. A power failure loses up to a second, or nothing.",
)
