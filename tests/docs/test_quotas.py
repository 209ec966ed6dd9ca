"""The page of quotas has every setting with AWS's value, and names none that does not exist."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from shared.settings import Settings
from tools.docs import quotas

PAGE = (Path(__file__).parents[2] / "docs" / "quotas.md").read_text()
SETTINGS = {f"FORETASTE_{field.name.upper()}": field for field in fields(Settings)}
LIMITING = sorted(name for name in SETTINGS if name.startswith(("FORETASTE_QUOTA_", "FORETASTE_RATE_LIMIT_")))


@pytest.mark.parametrize("name", LIMITING)
def test_every_setting_of_a_quota_is_in_the_table_with_aws_value(name: str) -> None:
    [row] = [line for line in PAGE.splitlines() if line.endswith(f"| `{name}` |")]
    _, _, aws, default, _, _ = (cell.strip() for cell in row.split("|"))
    assert SETTINGS[name].metadata["meaning"].endswith(f"(AWS: {aws})")
    standing = SETTINGS[name].default
    assert default == ("no limit" if standing is None else f"{standing:,}")


def test_the_page_names_settings_that_exist() -> None:
    assert set(re.findall(r"FORETASTE_[A-Z_]+", PAGE)) <= set(SETTINGS)


def test_a_quota_is_in_one_table() -> None:
    by_settings = {quota for _, quota, _, _ in quotas.list_settings()}
    assert not by_settings & (quotas.FIXED.keys() | quotas.NOT_ENFORCED.keys())
    assert not quotas.FIXED.keys() & quotas.NOT_ENFORCED.keys()
