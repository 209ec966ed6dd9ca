"""Which parser reads requests: gunicorn's own in Python, unless its extra is installed as gunicorn wants it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import pytest

from shared.http import gunicorn_config


@pytest.mark.parametrize(
    ("installed", "parser"),
    [(None, "python"), ("0.6.10", "python"), ("0.6.14", "fast"), ("1.0", "fast"), ("1rc1", "python")],
)
def test_the_parser(installed: str | None, parser: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(_: str) -> str:
        if installed is None:
            raise PackageNotFoundError
        return installed

    monkeypatch.setattr(gunicorn_config, "version", version)
    assert gunicorn_config._choose_parser() == parser
