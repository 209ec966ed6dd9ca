"""What a user of the command line can do something about: said in a sentence, without a traceback.

CommandError
    CannotStart       the system can't run like this: the message says why and what to do
    CannotBackUp      a folder can't be copied: the message says why and what to do
    InUse             another system runs on this folder: the message says which process
    NotReady          processes did not come up in time: the message names them and their logs
    NoServer          nothing says where the server is: the message says what to set
    UnusableFolder    a folder can't be imported: the message says what is missing in which file
    NoTrials          a version is not tuned: the message says what its solution does not ask for
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
