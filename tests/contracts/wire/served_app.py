"""A service for a gunicorn process of its own: it answers with what it was sent."""

from __future__ import annotations

from flask import Flask

from shared.aws import model, web

KEYS = {"AKIDEXAMPLE": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}


def create_app(service: str) -> Flask:
    def answer(call: web.Call) -> dict[str, object]:
        return {
            "schemaArn": call.request.get("name"),
            "recommendationId": call.request.get("userId"),
            "schemas": [],
        }

    return web.create_app(service, dict.fromkeys(model.operations(service), answer), keys=KEYS)
