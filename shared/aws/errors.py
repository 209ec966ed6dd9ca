"""All errors that clients can get, with the names that AWS's clients know.

    PersonalizeError
    ├── InvalidInput             a value that the service model allows and the service does not
    ├── InvalidNextToken         a page token that this list did not give out
    ├── LimitExceeded            a quota
    ├── ResourceAlreadyExists    the name is taken
    ├── ResourceInUse            the status of the resource, or of one it depends on, forbids this
    ├── ResourceNotFound         no such resource
    ├── TooManyTagKeys           more tag keys than one call may remove
    ├── TooManyTags              more tags than a resource may carry
    ├── Validation               a constraint of the service model is broken
    ├── Serialization            not JSON, or JSON of the wrong type
    ├── UnknownOperation         no such operation, path or method
    ├── OperationNotOffered      an operation of AWS's that foretaste does not offer yet
    ├── RequestTimeout           the request did not come in time; the SDKs try again
    ├── RequestTooLarge          the body is larger than any valid request
    ├── Throttled                more calls than the rate limit allows; the SDKs try again after a while
    ├── AuthenticationError      the caller could not be authenticated
    │   ├── MissingAuthenticationToken   no signature
    │   ├── IncompleteSignature          a signature with a part missing or garbled
    │   ├── InvalidSignature             a signature that does not match, or not at this time
    │   └── UnrecognizedClient           an unknown access key
    ├── InternalFailure          an error in foretaste
    └── ServiceUnavailable       a dependency does not answer; the SDKs try again

The class sets the HTTP status unless the service's own model has another: the runtime and events models
answer 404 and 409 where the control plane answers 400 (see `shared.aws.service_model.load_error_statuses`).
"""

from __future__ import annotations

import orjson


class PersonalizeError(Exception):
    """An error response. Its message is for the caller: it says how to go on, and holds no secret."""

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
    """A quota is reached. The SDKs retry the call twice, so it must be refused cheaply and without effect."""

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
    """There is no such operation. `status` is set on the instance: 404 for an unknown path, 405 for a method."""

    code = "UnknownOperationException"
    status = 400


class OperationNotOffered(PersonalizeError):
    code = "UnsupportedOperationException"
    status = 400

    def __init__(self, operation: str) -> None:
        super().__init__(
            f"{operation} is an operation of Amazon Personalize that foretaste does not offer yet; "
            "docs/operations.md lists the offered ones."
        )


class RequestTimeout(PersonalizeError):
    code = "RequestTimeoutException"
    status = 408


class RequestTooLarge(PersonalizeError):
    code = "RequestEntityTooLargeException"
    status = 413


class Throttled(PersonalizeError):
    """The rate limit is exceeded. `status` may be set to 429 for proxies; the SDKs go by the code."""

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
