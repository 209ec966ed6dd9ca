"""One handler per command of the ``tuning`` queue."""

from __future__ import annotations

from shared.process import current
from shared.queue import handles
from shared.state.messages import TuneSolutionVersion
from shared.work import ending_if_hung, insist
from workers.tuning import tuner


@handles(TuneSolutionVersion)
def tune_solution_version(command: TuneSolutionVersion) -> None:
    # Every step is safe to repeat: it reads what stands and writes with a comparison.
    with ending_if_hung(command, current().settings.tuning_silence_seconds):
        insist(lambda: tuner.advance(current(), command.arn))
