"""Every error that leaves on the wire, under the name that AWS's clients know it by.

    PersonalizeError
    ├── InvalidInput             a value that the service model allows and the service does not
    ├── InvalidNextToken         a page token that was not given out by this list
    ├── LimitExceeded            a quota
    ├── ResourceAlreadyExists    the name is taken
    ├── ResourceInUse            the resource, or one it stands on, is in a state that forbids this
    ├── ResourceNotFound         no such resource
    ├── TooManyTagKeys           more tag keys than one call may remove
    ├── TooManyTags              more tags than a resource may carry
    ├── Validation               a constraint of the service model is broken
    ├── Serialization            not JSON, or JSON of the wrong type
    ├── UnknownOperation         no such operation, path or method
    ├── NotOffered               an operation of AWS's that foretaste does not offer yet
    ├── RequestTimeout           the request did not come in time; the SDKs try again
    ├── RequestTooLarge          the body is larger than any valid request
    ├── Throttled                more calls than the rate limit allows; the SDKs try again after a while
    ├── AuthenticationError      who is asking could not be established
    │   ├── MissingAuthenticationToken   no signature
    │   ├── IncompleteSignature          a signature with a part missing or garbled
    │   ├── InvalidSignature             a signature that does not match, or not at this time
    │   └── UnrecognizedClient           an access key that is not known here
    ├── InternalFailure          a fault of foretaste's own
    └── ServiceUnavailable       something foretaste stands on does not answer; the SDKs try again

The class says the HTTP status unless the service's own model says another: the runtime and events models
answer 404 and 409 where the control plane answers 400 (see `shared.aws.service_model.error_statuses`).
"""

from __future__ import annotations

import orjson


class PersonalizeError(Exception):
    """An answer that says no. The message is read by the caller: it says what to do, and holds no secret."""

    code = "InternalFailure"
    status = 500

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def encode_body(self) -> bytes:
        return orjson.dumps({"__type": self.code, "message": self.message})


class InvalidInput(PersonalizeError):
    code = "InvalidInputException"
    status = 400


class InvalidNextToken(PersonalizeError):
    code = "InvalidNextTokenException"
    status = 400


class LimitExceeded(PersonalizeError):
    """The SDKs send a refused call twice more, so a refusal must be cheap and change nothing."""

    code = "LimitExceededException"
    status = 400


class ResourceAlreadyExists(PersonalizeError):
    code = "ResourceAlreadyExistsException"
    status = 400


class ResourceInUse(PersonalizeError):
    code = "ResourceInUseException"
    status = 400


class ResourceNotFound(PersonalizeError):
    code = "ResourceNotFoundException"
    status = 400


class TooManyTagKeys(PersonalizeError):
    code = "TooManyTagKeysException"
    status = 400


class TooManyTags(PersonalizeError):
    code = "TooManyTagsException"
    status = 400


class Validation(PersonalizeError):
    code = "ValidationException"
    status = 400


class Serialization(PersonalizeError):
    code = "SerializationException"
    status = 400


class UnknownOperation(PersonalizeError):
    """Answered as 404 for a path and 405 for a method that do not exist: `status` is set on the instance."""

    code = "UnknownOperationException"
    status = 400


class OperationNotOffered(PersonalizeError):
    code = "UnsupportedOperationException"
    status = 400

    def __init__(self, operation: str) -> None:
        super().__init__(
            f"{operation} is an operation of Amazon Personalize that foretaste does not offer yet; "
            "docs/operations.md lists what it offers."
        )


class RequestTimeout(PersonalizeError):
    code = "RequestTimeoutException"
    status = 408


class RequestTooLarge(PersonalizeError):
    code = "RequestEntityTooLargeException"
    status = 413


class Throttled(PersonalizeError):
    """Answered as 429 where `status` is set so on the instance: the SDKs know it by its code, proxies by the status."""

    code = "ThrottlingException"
    status = 400


class AuthenticationError(PersonalizeError):
    code = "AccessDeniedException"
    status = 403


class MissingAuthenticationToken(AuthenticationError):
    code = "MissingAuthenticationTokenException"


class IncompleteSignature(AuthenticationError):
    code = "IncompleteSignatureException"


class InvalidSignature(AuthenticationError):
    code = "InvalidSignatureException"


class UnrecognizedClient(AuthenticationError):
    code = "UnrecognizedClientException"


class InternalFailure(PersonalizeError):
    code = "InternalFailure"
    status = 500


class ServiceUnavailable(PersonalizeError):
    code = "ServiceUnavailable"
    status = 503
