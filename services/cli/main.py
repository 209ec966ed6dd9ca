"""The ``foretaste`` command: one file per subcommand; this one handles their errors."""

from __future__ import annotations

import errno
import sys

import click
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError

from services.cli.commands.attribution import attribution
from services.cli.commands.backup import backup
from services.cli.commands.demo import demo
from services.cli.commands.doctor import doctor
from services.cli.commands.hpo import hpo
from services.cli.commands.import_data import import_data
from services.cli.commands.recommend import recommend
from services.cli.commands.status import status
from services.cli.commands.train import train
from services.cli.commands.up import up
from services.cli.errors import CommandError
from shared.settings import SettingsError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="foretaste")
def cli() -> None:
    """A recommender service on your own machine that speaks the Amazon Personalize API."""


for command in (up, demo, status, doctor, backup, import_data, train, hpo, recommend, attribution):
    cli.add_command(command)


def main() -> None:
    try:
        cli()
    except (CommandError, SettingsError, BotoCoreError, ClientError) as error:
        click.echo(f"foretaste: {error}", err=True)
        if isinstance(error, EndpointConnectionError):
            click.echo("foretaste: is the server running? `foretaste doctor` looks.", err=True)
        sys.exit(1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        click.echo(f"foretaste: {error}. Make room on that disk, and try again.", err=True)
        sys.exit(1)
