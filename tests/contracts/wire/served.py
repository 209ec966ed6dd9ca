"""Services whose handlers say what they were given: what the wire is tested with."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Flask

from shared.aws import service_model
from shared.http import app

KEYS = {"AKIDEXAMPLE": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}


def app_of(service: str, handler: app.OperationHandler, keys: Mapping[str, str] | None = KEYS) -> Flask:
    """One handler for all operations of a service."""
    return app.create_app({service: dict.fromkeys(service_model.load_operations(service), handler)}, keys=keys)


def echo(service: str) -> Flask:
    """For a gunicorn process: answers with what it was sent."""
    return app_of(
        service,
        lambda call: {
            "schemaArn": call.request.get("name"),
            "recommendationId": call.request.get("userId"),
            "schemas": [],
        },
    )
