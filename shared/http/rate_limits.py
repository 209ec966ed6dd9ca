"""Rate limits: how often an access key may call the operations of one group, over all processes of foretaste.

They are off unless a setting FORETASTE_RATE_LIMIT_* gives a rate. Redis counts calls in a sliding window (keys
`foretaste:limit:`, which expire). While Redis does not answer in time, requests pass: a limit protects the service and
must not take it down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.aws import service_model
from shared.aws.errors import Throttled
from shared.settings import Settings, SettingsError

log = structlog.get_logger()

#: Seconds that a request waits for its count, at most.
TIMEOUT_SECONDS = 0.2
#: AWS counts these separately from events, at a hundredth of their rate.
_RECORDS = frozenset({"PutItems", "PutUsers", "PutActions"})


#: Counts a call of an access key. Raises Throttled when it exceeds the rate.
Throttle = Callable[[str, service_model.Operation], None]


def find_rate_group(operation: service_model.Operation) -> str:
    """Return the group whose rate an operation counts to, as the settings name it."""
    match operation.service:
        case "personalize-runtime":
            return "runtime"
        case "personalize-events":
            return "records" if operation.name in _RECORDS else "events"
    return "control"


def create_throttle(configured: Settings) -> Throttle | None:
    """Create the throttle for the rates in the settings; None: no rate is set. Raises SettingsError for a bad rate."""
    settings = {
        "control": configured.rate_limit_control,
        "runtime": configured.rate_limit_runtime,
        "events": configured.rate_limit_events,
        "records": configured.rate_limit_records,
    }
    rates = {name: rate for name, rate in settings.items() if rate}
    return _create_counting_throttle(configured.redis_url, rates) if rates else None


def _create_counting_throttle(redis_url: str, rates: Mapping[str, str]) -> Throttle:
    # Imported here: processes without rate limits should not pay for these imports.
    from limits import parse_many
    from limits.storage import RedisStorage
    from limits.strategies import SlidingWindowCounterRateLimiter

    allowed = {}
    for name, rate in rates.items():
        try:
            allowed[name] = parse_many(rate)
        except ValueError as error:
            raise SettingsError(
                f"FORETASTE_RATE_LIMIT_{name.upper()}={rate} is no rate: write 100/second, or 100/second; 2000/minute"
            ) from error
    pool = redis.ConnectionPool.from_url(
        redis_url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS, retry=Retry(NoBackoff(), 0)
    )
    windows = SlidingWindowCounterRateLimiter(RedisStorage(redis_url, pool, key_prefix="foretaste:limit"))

    def count(access_key: str, operation: service_model.Operation) -> None:
        name = find_rate_group(operation)
        try:
            passes = all(windows.hit(limit, name, access_key) for limit in allowed.get(name, ()))
        except redis.RedisError as error:
            log.warning("rate limit not counted", operation=operation.name, reason=str(error))
            return
        if not passes:
            refusal = Throttled(f"Rate exceeded: this access key may call operations of {name} at {rates[name]}.")
            refusal.status = 400 if service_model.is_json_rpc(operation.service) else 429
            raise refusal

    return count
