"""A trial: one training of HPO or AutoML, which measures its hyperparameters. AWS's API does not show it.

It runs, restarts after a crash and stops as every job does; its solution version is trained after all trials.
"""

from shared.resources.resource_type import Resource
from shared.resources.trial.requests import build_draft
from shared.state.lifecycle import TRAINED
from shared.state.messages import RunTrial

resource = Resource(name="Trial", draft=build_draft, lifecycle=TRAINED, command=RunTrial, hidden=True)
