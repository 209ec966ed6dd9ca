"""``foretaste up`` gives each process an address of its own for what it says of itself."""

from __future__ import annotations

import pytest

from services.cli.errors import CannotStart
from services.cli.local.supervisor import ChildSpec
from services.cli.local.system import _assign_metrics_ports

CHILDREN = [
    ChildSpec(name=name, command=("true",), environment={"A": "b"}, ready=lambda _pid: True)
    for name in ("api", "runtime")
]


def test_the_ports_follow_on_one_another() -> None:
    given = _assign_metrics_ports(CHILDREN, "127.0.0.1:9100")
    assert [child.environment for child in given] == [
        {"A": "b", "FORETASTE_METRICS_BIND": "127.0.0.1:9100"},
        {"A": "b", "FORETASTE_METRICS_BIND": "127.0.0.1:9101"},
    ]


@pytest.mark.parametrize("bind", [None, ""])
def test_nothing_is_given_unless_asked_for(bind: str | None) -> None:
    assert _assign_metrics_ports(CHILDREN, bind) == CHILDREN


def test_an_address_without_a_port_is_refused() -> None:
    with pytest.raises(CannotStart, match="FORETASTE_METRICS_BIND must be host:port, and not localhost"):
        _assign_metrics_ports(CHILDREN, "localhost")
