"""Errors that a user of the command line can act on: printed as a sentence, without a traceback.

CommandError
    CannotStart       the system can't run like this: the message gives the reason and the remedy
    CannotBackUp      a folder can't be copied: the message gives the reason and the remedy
    InUse             another system runs on this folder: the message names its process
    NotReady          processes did not come up in time: the message names them and their logs
    NoServer          no setting says where the server is: the message names the setting
    UnusableFolder    a folder can't be imported: the message names the file and the problem
    NoTrials          a version is not tuned: the message names the option that its solution lacks
    CreationFailed    a resource ended otherwise than ACTIVE: the message gives AWS's failureReason
"""


class CommandError(Exception):
    pass


class CannotStart(CommandError):
    pass


class CannotBackUp(CommandError):
    pass


class InUse(CommandError):
    pass


class NotReady(CommandError):
    pass


class NoServer(CommandError):
    pass


class UnusableFolder(CommandError):
    pass


class NoTrials(CommandError):
    pass


class CreationFailed(CommandError):
    pass
