"""A trial: one training of HPO or AutoML, which tells what its hyperparameters come to. AWS's API does not show it.

It is worked on, killed, taken up again and stopped like any other work; its solution version is trained in the end.
"""

from shared.resources.resource_type import Resource
from shared.resources.trial.requests import build_draft
from shared.state.lifecycle import TRAINED
from shared.state.messages import RunTrial

resource = Resource(name="Trial", draft=build_draft, lifecycle=TRAINED, command=RunTrial, hidden=True)
