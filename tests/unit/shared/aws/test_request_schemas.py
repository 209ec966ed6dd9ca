"""The words that a refused request gets, and the edges of what passes."""

from __future__ import annotations

import math
import time

import pytest

from shared.aws import request_schemas, service_model
from shared.aws.errors import Serialization, Validation

ARN = "arn:aws:personalize:us-east-1:000000000000:dataset-group/a"


def load(operation: str, request: object, service: str = "personalize") -> dict:
    return request_schemas.load_request(service_model.load_operations(service)[operation], request)


def refusal(operation: str, request: object, service: str = "personalize") -> str:
    with pytest.raises((Validation, Serialization)) as caught:
        load(operation, request, service)
    return caught.value.message


def put_events(**event: object) -> dict:
    return {"trackingId": "t", "sessionId": "s", "eventList": [{"eventType": "a", "sentAt": 1} | event]}


def test_all_breaches_are_told_at_once_in_awss_words() -> None:
    assert refusal("CreateSolution", {"name": "bad name"}) == (
        "2 validation errors detected: "
        "Value 'bad name' at 'name' failed to satisfy constraint: "
        r"Member must satisfy regular expression pattern: ^[a-zA-Z0-9][a-zA-Z0-9\-_]*; "
        "Value null at 'datasetGroupArn' failed to satisfy constraint: Member must not be null"
    )


@pytest.mark.parametrize(
    ("operation", "request_", "expected"),
    [
        ("ListSchemas", {"maxResults": 0}, "Value '0' at 'maxResults': value greater than or equal to 1"),
        ("ListSchemas", {"maxResults": 101}, "Value '101' at 'maxResults': value less than or equal to 100"),
        ("ListRecipes", {"recipeProvider": ""}, "Value '' at 'recipeProvider': enum value set: [SERVICE]"),
        ("CreateDatasetGroup", {"name": ""}, "Value '' at 'name': length greater than or equal to 1"),
        ("ListSchemas", {"nextToken": "ü"}, r"Value 'ü' at 'nextToken': regular expression pattern: \p{ASCII}{0,1500}"),
    ],
)
def test_one_breach(operation, request_, expected) -> None:
    value, _, rule = expected.partition(": ")
    message = refusal(operation, request_)
    assert f"{value} failed to satisfy constraint: Member must " in message
    assert rule in message


def test_members_of_lists_count_from_one() -> None:
    metrics = [{"eventType": "a", "metricName": "b", "expression": "c"}, {"eventType": "x" * 257}]
    message = refusal("UpdateMetricAttribution", {"addMetrics": metrics})
    assert "at 'addMetrics.2.member.eventType' failed" in message
    assert "Value null at 'addMetrics.2.member.metricName' failed" in message


def test_members_of_maps_are_named_by_their_key() -> None:
    config = {"itemExplorationConfig": {"explorationWeight": "x" * 1001}}
    message = refusal("UpdateCampaign", {"campaignArn": ARN, "campaignConfig": config})
    assert "at 'campaignConfig.itemExplorationConfig.explorationWeight.member' failed" in message


def test_keys_of_maps_are_checked() -> None:
    ranking = {"rankingInfluence": {"PRICE": 0.5}}
    assert refusal("UpdateCampaign", {"campaignArn": ARN, "campaignConfig": ranking}) == (
        "1 validation error detected: Value 'PRICE' at 'campaignConfig.rankingInfluence' failed to satisfy "
        "constraint: Map keys must satisfy constraint: "
        "[Member must satisfy enum value set: [POPULARITY, FRESHNESS]]"
    )


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"maxResults": "5"}, "STRING_VALUE can not be converted to an Integer at 'maxResults'"),
        ({"maxResults": 5.0}, "DECIMAL_VALUE can not be converted to an Integer at 'maxResults'"),
        ({"maxResults": True}, "BOOLEAN_VALUE can not be converted to an Integer at 'maxResults'"),
        ({"nextToken": 5}, "NUMBER_VALUE can not be converted to a String at 'nextToken'"),
        ({"nextToken": []}, "ARRAY_VALUE can not be converted to a String at 'nextToken'"),
        ([], "ARRAY_VALUE can not be converted to a Structure"),
    ],
)
def test_another_json_type_is_a_serialization_error(request_, expected) -> None:
    with pytest.raises(Serialization) as caught:
        load("ListSchemas", request_)
    assert caught.value.message == expected


def test_types_are_looked_at_before_constraints() -> None:
    with pytest.raises(Serialization):
        load("CreateSolution", {"name": "bad name", "performHPO": "true"})


def test_a_long_value_is_shortened() -> None:
    message = refusal("CreateSchema", {"name": "a" * 1000, "schema": "b" * 20_001})
    assert len(message) < 700
    assert "Value 'aaaa" in message
    assert "a…' at 'name'" in message


def test_many_breaches_are_counted_and_the_first_ten_named() -> None:
    request = {"campaignArn": ARN, "userId": "u", "inputList": ["x" * 257] * 1000}
    message = refusal("GetPersonalizedRanking", request, "personalize-runtime")
    assert message.startswith("1000 validation errors detected: ")
    assert message.count("failed to satisfy") == request_schemas.MAX_NAMED_BREACHES


@pytest.mark.parametrize(
    ("operation", "request_", "service"),
    [
        ("CreateFilter", {"filterExpression": "secret" * 500}, "personalize"),
        ("TagResource", {"resourceArn": ARN, "tags": [{"tagKey": "secret!", "tagValue": "secret;"}]}, "personalize"),
        ("GetRecommendations", {"filterValues": {"a": "secret" * 200}}, "personalize-runtime"),
        ("GetRecommendations", {"context": {"a": "secret" * 200}}, "personalize-runtime"),
        ("PutEvents", put_events(itemId="secret" * 50), "personalize-events"),
        ("PutEvents", put_events(eventType="secret" * 50), "personalize-events"),
        ("PutEvents", put_events(properties="secret" * 500), "personalize-events"),
        ("PutEvents", {"userId": "secret" * 50}, "personalize-events"),
        ("PutUsers", {"users": [{"userId": "a", "properties": "secret" * 5000}]}, "personalize-events"),
    ],
)
def test_what_is_sensitive_is_not_repeated(operation, request_, service) -> None:
    message = refusal(operation, request_, service)
    assert "Value at '" in message
    assert "secret" not in message


def test_a_container_is_not_repeated() -> None:
    request = put_events() | {"eventList": [{"eventType": "secret"}] * 11}
    message = refusal("PutEvents", request, "personalize-events")
    assert message == (
        "1 validation error detected: Value at 'eventList' failed to satisfy constraint: "
        "Member must have length less than or equal to 10"
    )


@pytest.mark.parametrize(
    ("sent", "read"), [("NaN", math.nan), ("Infinity", math.inf), ("-Infinity", -math.inf), (3, 3.0)]
)
def test_numbers_that_json_lacks_come_as_texts(sent, read) -> None:
    (event,) = load("PutEvents", put_events(eventValue=sent), "personalize-events")["eventList"]
    assert event["eventValue"] == pytest.approx(read, nan_ok=True)
    assert isinstance(event["eventValue"], float)


@pytest.mark.parametrize(
    "sent", [0, 1_700_000_000, 1_700_000_000.917, -62_135_596_800, 253_402_300_799, 1_700_000_000_000]
)
def test_times_pass_as_they_were_sent(sent) -> None:
    (event,) = load("PutEvents", put_events(sentAt=sent), "personalize-events")["eventList"]
    assert event["sentAt"] == sent


@pytest.mark.parametrize("sent", [1_700_000_000_000_000, 253_402_300_799_001, -62_135_596_801, 1e300])
def test_times_that_no_calendar_holds_are_refused(sent) -> None:
    message = refusal("PutEvents", put_events(sentAt=sent), "personalize-events")
    assert message.endswith("at 'eventList.1.member.sentAt'")
    assert "microseconds" in message


@pytest.mark.parametrize("name", ["a\n", "a b", "-a", "ä", "a" * 64, "a/b", "٣"])
def test_patterns_match_whole_values(name) -> None:
    assert "at 'name'" in refusal("CreateDatasetGroup", {"name": name})


@pytest.mark.parametrize("token", ["", "~!\n", "x" * 1500])
def test_a_pattern_of_ascii_takes_ascii(token) -> None:
    assert load("ListSchemas", {"nextToken": token}) == {"nextToken": token}


@pytest.mark.parametrize("key", ["Größe", "東京 ٣", "a:b/c=d+e-f@g_h."])
def test_a_pattern_of_letters_takes_letters_of_all_scripts(key) -> None:
    tags = [{"tagKey": key, "tagValue": ""}]
    assert load("TagResource", {"resourceArn": ARN, "tags": tags})["tags"] == tags


def test_digits_in_patterns_are_ascii() -> None:
    role = "arn:aws:iam::٠٠٠٠٠٠٠٠٠٠٠٠:role/a"
    assert "at 'roleArn'" in refusal("CreateDatasetGroup", {"name": "a", "roleArn": role})


def test_a_slow_pattern_does_not_make_a_slow_refusal() -> None:
    """The longest text that AWS's slowest pattern must still be matched against, ten times."""
    source = {"eventAttributionSource": "a" * 1023 + "\n"}
    events = [put_events(metricAttribution=source)["eventList"][0]] * 10
    started = time.process_time()
    refusal("PutEvents", put_events() | {"eventList": events}, "personalize-events")
    assert time.process_time() - started < 1.0


def test_null_inside_a_list_is_refused() -> None:
    message = refusal("UntagResource", {"resourceArn": ARN, "tagKeys": ["a", None]})
    assert message == "NULL_VALUE can not be converted to a member of a List or Map at 'tagKeys.2.member'"
