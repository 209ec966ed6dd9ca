"""A runtime for which no catalogue is so large that its vectors are scanned in 8 bits."""

from __future__ import annotations

import sys

from flask import Flask

from services.runtime import app
from shared.recipes.hrnn.serving import shared_pass


def create_app() -> Flask:
    shared_pass.SCANNED = sys.maxsize
    return app.create_app()
