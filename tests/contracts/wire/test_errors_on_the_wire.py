"""Errors as boto3 sees them: the modelled ones are typed, the others are ClientErrors with their code."""

from __future__ import annotations

import pytest
import redis.exceptions
from botocore.exceptions import ClientError

from shared.aws import errors, service_model
from tests.contracts.wire.served import app_of

ARN = "arn:aws:personalize:us-east-1:000000000000:schema/a"
CALLS = {
    "personalize": ("describe_schema", {"schemaArn": ARN}),
    "personalize-runtime": ("get_recommendations", {"campaignArn": ARN}),
    "personalize-events": ("put_users", {"datasetArn": ARN, "users": [{"userId": "a"}]}),
}
MODELLED = {
    "personalize": {
        errors.InvalidInput: 400,
        errors.InvalidNextToken: 400,
        errors.LimitExceeded: 400,
        errors.ResourceAlreadyExists: 400,
        errors.ResourceInUse: 400,
        errors.ResourceNotFound: 400,
        errors.TooManyTagKeys: 400,
        errors.TooManyTags: 400,
    },
    "personalize-runtime": {errors.InvalidInput: 400, errors.ResourceNotFound: 404},
    "personalize-events": {errors.InvalidInput: 400, errors.ResourceInUse: 409, errors.ResourceNotFound: 404},
}
CASES = [(service, error, status) for service, found in MODELLED.items() for error, status in found.items()]


class Handler:
    """Raises what it is told to."""

    error: Exception

    def __call__(self, call: object) -> None:
        raise self.error


@pytest.fixture(scope="module")
def handler() -> Handler:
    return Handler()


@pytest.fixture(scope="module")
def clients(serve, client_of, handler):
    return {service: client_of(service, serve(app_of(service, handler))) for service in service_model.SERVICES}


def refused(client, service: str) -> ClientError:
    method, request = CALLS[service]
    with pytest.raises(ClientError) as caught:
        getattr(client, method)(**request)
    return caught.value


@pytest.mark.parametrize(("service", "error", "status"), CASES)
def test_a_modelled_error_is_caught_by_its_name(clients, handler, service, error, status) -> None:
    handler.error = error("Do something else — please.")
    caught = refused(clients[service], service)
    assert isinstance(caught, getattr(clients[service].exceptions, error.code))
    assert caught.response["Error"] == {"Code": error.code, "Message": "Do something else — please."}
    assert caught.response["message"] == "Do something else — please."
    assert caught.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert len(caught.response["ResponseMetadata"]["RequestId"]) == 36


@pytest.mark.parametrize("service", service_model.SERVICES)
def test_every_modelled_error_is_tried(clients, service) -> None:
    names = {error.code for error in MODELLED[service]}
    assert names == {e.__name__ for e in vars(clients[service].exceptions)["_code_to_exception"].values()}


@pytest.mark.parametrize("service", service_model.SERVICES)
def test_an_error_that_the_service_does_not_model_keeps_its_code(clients, handler, service) -> None:
    handler.error = errors.Validation("1 validation error detected: …")
    caught = refused(clients[service], service)
    assert type(caught) is ClientError
    assert caught.response["Error"]["Code"] == "ValidationException"


@pytest.mark.parametrize("service", service_model.SERVICES)
def test_a_fault_of_our_own_tells_no_internals(clients, handler, service) -> None:
    handler.error = ZeroDivisionError("a secret")
    caught = refused(clients[service], service)
    assert caught.response["Error"]["Code"] == "InternalFailure"
    assert caught.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert "secret" not in str(caught)
    assert caught.response["ResponseMetadata"]["RequestId"] in str(caught)


@pytest.mark.parametrize("error", [redis.exceptions.ConnectionError, redis.exceptions.TimeoutError])
@pytest.mark.parametrize("service", service_model.SERVICES)
def test_a_store_that_does_not_answer_is_503(clients, handler, service, error) -> None:
    handler.error = error("Error 111 connecting to redis://:password@localhost")
    caught = refused(clients[service], service)
    assert caught.response["Error"]["Code"] == "ServiceUnavailable"
    assert caught.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    assert "password" not in str(caught)


def test_the_sdk_tries_a_503_again_under_one_invocation_id(serve, client_of) -> None:
    from botocore.config import Config

    seen = []

    def handler(call):
        seen.append(call.invocation)
        if len(seen) < 2:
            raise errors.ServiceUnavailable("Please try again.")
        return {"recipes": []}

    config = Config(retries={"mode": "standard", "total_max_attempts": 3})
    client = client_of("personalize", serve(app_of("personalize", handler)), config=config)
    assert client.list_recipes()["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert len(seen) == 2
    assert len(set(seen)) == 1
    client.list_recipes()
    assert len(set(seen)) == 2
    assert all(invocation.startswith("AKIDEXAMPLE/") for invocation in seen)


def test_the_codes_are_all_different() -> None:
    declared = subclasses(errors.PersonalizeError)
    codes = [error.code for error in declared if error.__module__ == errors.__name__]
    assert len(set(codes)) == len(codes)
    assert {error.code for error in declared} == set(codes)  # what stands elsewhere says why, by a code of these


def subclasses(error: type) -> list[type]:
    return [sub for direct in error.__subclasses__() for sub in (direct, *subclasses(direct))]
