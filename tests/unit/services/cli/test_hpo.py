"""What ``foretaste hpo`` prints of trials."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import pytest
from rich.console import Console, RenderableType

from services.cli.commands.hpo import (
    METRIC,
    build_trial_table,
    compute_best_so_far,
    describe_trial_state,
    draw_best_so_far,
    find_best_trial,
)
from shared.state.lifecycle import (
    ACTIVE,
    CREATE_FAILED,
    CREATE_IN_PROGRESS,
    CREATE_PENDING,
    CREATE_STOPPED,
    CREATE_STOPPING,
)

RECIPE = "arn:aws:personalize:::recipe/aws-hrnn"


def trial(number: int, status: str = ACTIVE, *, gain: float | None = None, ended: float = 0.0, **more: Any) -> Any:
    """As boto3 gives it; ``gain`` is that of a trial that is done."""
    return {
        "number": number,
        "recipeArn": RECIPE,
        "parameters": {"hidden_dimension": str(32 + number), "recency_mask": "true", "bptt": "20"},
        "status": status,
        "pruned": False,
        "won": False,
        "curve": [],
        "lastUpdatedDateTime": ended or float(number),
        **({"metrics": {METRIC: gain}} if gain is not None else {}),
        **more,
    }


def lines(*shown: RenderableType) -> list[str]:
    written = io.StringIO()
    Console(file=written, width=160).print(*shown, sep="\n")
    return [line.rstrip() for line in written.getvalue().splitlines()]


def cells(trials: list[Any]) -> list[list[str]]:
    """The table's rows, its head first, without its frame."""
    return [
        [cell.strip() for cell in line[1:-1].replace("┃", "│").split("│")]
        for line in lines(build_trial_table(trials))
        if line[:1] in ("┃", "│")
    ]


def test_a_line_tells_all_of_a_trial() -> None:
    running = trial(
        3,
        CREATE_IN_PROGRESS,
        worker="training@host:12",
        epoch=2,
        epochs=20,
        curve=[{"epoch": 1, "gain": 0.12, "seconds": 4.0}, {"epoch": 2, "gain": 0.11, "seconds": 8.0}],
        trainingSeconds=8.0,
    )
    head, line = cells([running])
    assert head == ["trial", "parameters", "epochs", "NDCG@25", "state", "worker", "seconds", ""]
    every = "bptt 20, hidden_dimension 35, recency_mask true"
    assert line == ["3", every, "2/20", "0.1200", "running", "training@host:12", "8.0", ""]


def test_parameters_that_are_alike_in_all_trials_are_not_repeated() -> None:
    ours, theirs = trial(0), trial(1)
    ours["parameters"]["learning_rate"], theirs["parameters"]["learning_rate"] = "0.0012345678", "1.0000e-05"
    assert [line[1] for line in cells([ours, theirs])[1:]] == [
        "hidden_dimension 32, learning_rate 0.001235",
        "hidden_dimension 33, learning_rate 1e-05",
    ]


def test_recipes_are_named_where_several_compete() -> None:
    popularity = trial(1, recipeArn="arn:aws:personalize:::recipe/aws-popularity-count", parameters={"v": "a.b"})
    head, first, second = cells([trial(0), popularity])
    assert head[1] == "recipe"
    assert (first[1], second[1], second[2]) == ("aws-hrnn", "aws-popularity-count", "v a.b")


def test_the_best_of_those_that_are_done_is_marked() -> None:
    promising = trial(3, CREATE_STOPPED, pruned=True, curve=[{"epoch": 1, "gain": 0.9, "seconds": 1.0}])
    trials = [trial(0, gain=0.1), trial(1, gain=0.3), trial(2, gain=0.3), promising]
    assert [line[-1] for line in cells(trials)[1:]] == ["", "best", "", ""]
    assert find_best_trial([promising]) is None


def test_the_one_that_won_is_marked_whatever_it_was_chosen_by() -> None:
    trials = [trial(0, gain=0.1, won=True), trial(1, gain=0.3)]
    assert [line[-1] for line in cells(trials)[1:]] == ["won", ""]


def test_a_reason_is_printed_as_it_is() -> None:
    [_, line] = cells([trial(0, CREATE_FAILED, failureReason="[red] is no column.")])
    assert line[-1] == "[red] is no column."


@pytest.mark.parametrize(
    ("status", "pruned", "word"),
    [
        (CREATE_PENDING, False, "waiting"),
        (CREATE_IN_PROGRESS, False, "running"),
        (ACTIVE, False, "done"),
        (CREATE_FAILED, False, "failed"),
        (CREATE_STOPPING, True, "stopping"),
        (CREATE_STOPPED, True, "pruned"),
        (CREATE_STOPPED, False, "stopped"),
    ],
)
def test_states_are_said_in_a_word(status: str, pruned: bool, word: str) -> None:
    assert describe_trial_state(trial(0, status, pruned=pruned)) == word


def test_the_best_so_far_goes_by_when_trials_ended() -> None:
    trials = [
        trial(0, gain=0.2, ended=5.0),
        trial(1, gain=0.1, ended=2.0),
        trial(2, gain=0.15, ended=9.0),
        trial(3, CREATE_IN_PROGRESS, curve=[{"epoch": 1, "gain": 0.9, "seconds": 1.0}]),
        trial(4, gain=0.4, ended=11.0),
    ]
    assert list(compute_best_so_far(trials)) == [0.1, 0.2, 0.2, 0.4]


def drawn(gains: Iterable[float]) -> list[str]:
    return lines(*draw_best_so_far([trial(number, gain=gain) for number, gain in enumerate(gains)]))[1:]


def test_the_drawing_climbs_from_its_first_line_to_its_last() -> None:
    assert drawn([0.1, 0.15, 0.12, 0.2]) == [
        "0.2000       ██",
        "             ██",
        "         ▄▄▄▄██",
        "         ██████",
        "         ██████",
        "0.1000 ████████",
    ]


def test_what_never_becomes_better_is_one_line() -> None:
    assert drawn([0.1, 0.05, 0.1]) == ["0.1000 ██████"]


def test_forty_trials_fit_a_terminal() -> None:
    assert max(map(len, drawn(number / 100 for number in range(40)))) < 80


def test_nothing_is_drawn_before_a_trial_is_done() -> None:
    assert list(draw_best_so_far([trial(0, CREATE_PENDING)])) == []
