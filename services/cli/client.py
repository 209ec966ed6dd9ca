"""The boto3 clients of the command line, and where it finds the server: a client like any other.

Response headers carry the facts that AWS's shapes have no member for: a training's progress, the popularity baseline,
the report of an evaluation.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import botocore.session
from botocore.config import Config

from services.cli.errors import NoServer
from services.cli.local.data_dir import SERVER_DIR, DataDir, read_client_env
from shared.aws import service_model

PROGRESS = "x-foretaste-progress"
BASELINE = "x-foretaste-baseline"
REPORT = "x-foretaste-report"
REMARKS = "x-foretaste-remarks"

# A process that restarts is back within seconds; the SDK's own retries bridge that. The gateway is reached
# directly, also where the environment names a proxy.
CONFIG = Config(retries={"mode": "standard", "total_max_attempts": 10}, connect_timeout=5, read_timeout=70, proxies={})


@dataclass(frozen=True)
class Personalize:
    """boto3's clients of ``personalize``, ``personalize-runtime``, ``personalize-events`` and of our own service."""

    control: Any
    runtime: Any
    events: Any
    foretaste: Any


def find_client_variables(data_dir: Path | None, default: Path) -> Mapping[str, str]:
    """The client's variables: of the data dir that was named, else of the environment, else of the default one.

    Raises NoServer.
    """
    if data_dir is None and "AWS_ENDPOINT_URL_PERSONALIZE" in os.environ:
        return os.environ
    client_env = DataDir(data_dir or default).client_env
    if not client_env.exists():
        raise NoServer(
            f"no server is known: there is no {client_env}. Start one with `foretaste up --data-dir DIR` and give "
            "the same --data-dir, or set AWS_ENDPOINT_URL_PERSONALIZE, ..._RUNTIME and ..._EVENTS."
        )
    return read_client_env(client_env)


def find_server_dir(data_dir: Path | None, default: Path) -> Path:
    """The folder of the server that ``environment`` finds, if it is one of this machine."""
    return data_dir or Path(find_client_variables(data_dir, default).get(SERVER_DIR, default))


def connect(variables: Mapping[str, str]) -> Personalize:
    """Clients for these variables; those of the environment itself go through boto3's own chain of credentials."""
    botocore_session = botocore.session.Session()
    botocore_session.get_component("data_loader").search_paths.append(str(service_model.MODELS))
    if variables is os.environ:
        session = boto3.Session(botocore_session=botocore_session)
    else:
        session = boto3.Session(
            aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
            region_name=variables["AWS_REGION"],
            botocore_session=botocore_session,
        )
    url = variables["AWS_ENDPOINT_URL_PERSONALIZE"]
    return Personalize(
        control=session.client("personalize", endpoint_url=url, config=CONFIG),
        runtime=session.client(
            "personalize-runtime",
            endpoint_url=variables.get("AWS_ENDPOINT_URL_PERSONALIZE_RUNTIME", url),
            config=CONFIG,
        ),
        events=session.client(
            "personalize-events",
            endpoint_url=variables.get("AWS_ENDPOINT_URL_PERSONALIZE_EVENTS", url),
            config=CONFIG,
        ),
        foretaste=session.client(service_model.OWN_SERVICE, endpoint_url=url, config=CONFIG),
    )


def read_json_header(answer: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The JSON object that foretaste put into a header of this answer; empty when there is none."""
    text = answer["ResponseMetadata"]["HTTPHeaders"].get(name)
    return dict(json.loads(text)) if text else {}
