"""Verify Signature Version 4 with botocore's own signer, so that both sides compute the same signature.

Unlike the signer, a server must not trust the client. The signed headers are those that the client names, and must
include host and every x-amz-* header (otherwise a captured call could be sent to another operation). The body is hashed
here, independently of the hash that the client states, and presigned queries are not accepted.
There are no sessions: an X-Amz-Security-Token must be signed like any x-amz-* header, and has no other effect.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from botocore.auth import SIGV4_TIMESTAMP, SigV4Auth
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials

from shared.aws.errors import (
    IncompleteSignature,
    InvalidSignature,
    MissingAuthenticationToken,
    UnrecognizedClient,
)
from shared.aws.service_model import SIGNING_NAME

ALGORITHM = "AWS4-HMAC-SHA256"
MAX_CLOCK_SKEW = timedelta(minutes=5)

_PARTS = ("Credential", "SignedHeaders", "Signature")
_SCOPE = re.compile(
    r"(?P<key>[\w+=,.@-]{1,128})/(?P<date>\d{8})/(?P<region>[a-z0-9-]{1,64})/(?P<service>[a-z0-9-]+)/aws4_request",
    re.ASCII,
)
_SIGNATURE = re.compile(r"[0-9a-f]{64}")
_PLACEHOLDER = "a secret for access keys that do not exist, so that refusing one takes as long as refusing a signature"


@dataclass(frozen=True, kw_only=True)
class SignedRequest:
    """A request as received. Header names are in lower case; `target` is the raw path with its query."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


def verify_signature(request: SignedRequest, keys: Mapping[str, str], now: datetime | None = None) -> str:
    """Return the access key that signed the request. `now` must be aware. Raises an AuthenticationError."""
    authorization = _parse_authorization(request.headers)
    timestamp = _parse_timestamp(request.headers, authorization)
    _check_signed_headers(request.headers, authorization.signed_headers)
    digest = sha256(request.body).hexdigest()
    if not hmac.compare_digest(request.headers.get("x-amz-content-sha256", digest).encode(), digest.encode()):
        raise InvalidSignature(
            "X-Amz-Content-SHA256 must be the SHA-256 of the body; unsigned payloads are not accepted."
        )
    secret = keys.get(authorization.access_key)
    signature = _compute_signature(request, authorization, timestamp, secret or _PLACEHOLDER)
    matches = hmac.compare_digest(signature.encode(), authorization.signature.encode())
    if secret is None:
        raise UnrecognizedClient("The security token included in the request is invalid.")
    if not matches:
        raise InvalidSignature(
            "The request signature we calculated does not match the signature you provided. "
            "Check your AWS Secret Access Key and signing method. "
            "Consult the service documentation for details."
        )
    _check_timestamp(timestamp, now or datetime.now(UTC))
    return authorization.access_key


@dataclass(frozen=True, kw_only=True)
class _Authorization:
    access_key: str
    date: str
    region: str
    signed_headers: tuple[str, ...]
    signature: str


def _parse_authorization(headers: Mapping[str, str]) -> _Authorization:
    header = headers.get("authorization", "").strip()
    if not header:
        raise MissingAuthenticationToken("Missing Authentication Token")
    algorithm, _, rest = header.partition(" ")
    if algorithm != ALGORITHM:
        raise IncompleteSignature(f"The Authorization header must use {ALGORITHM}.")
    parts = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    missing = [name for name in _PARTS if not parts.get(name)]
    if missing:
        raise IncompleteSignature(" ".join(f"Authorization header requires '{name}' parameter." for name in missing))
    scope = _SCOPE.fullmatch(parts["Credential"])
    if scope is None:
        raise IncompleteSignature(
            f"Credential must have the form <access key>/<date>/<region>/{SIGNING_NAME}/aws4_request."
        )
    if scope["service"] != SIGNING_NAME:
        raise InvalidSignature(f"Credential should be scoped to correct service: '{SIGNING_NAME}'.")
    if not _SIGNATURE.fullmatch(parts["Signature"]):
        raise IncompleteSignature("Signature must be 64 hexadecimal digits in lower case.")
    return _Authorization(
        access_key=scope["key"],
        date=scope["date"],
        region=scope["region"],
        signed_headers=tuple(parts["SignedHeaders"].split(";")),
        signature=parts["Signature"],
    )


def _parse_timestamp(headers: Mapping[str, str], authorization: _Authorization) -> datetime:
    try:
        timestamp = datetime.strptime(headers.get("x-amz-date", ""), SIGV4_TIMESTAMP).replace(tzinfo=UTC)
    except ValueError:
        raise IncompleteSignature("The request must carry an X-Amz-Date of the form YYYYMMDDTHHMMSSZ.") from None
    if f"{timestamp:%Y%m%d}" != authorization.date:
        raise InvalidSignature(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP."
        )
    return timestamp


def _check_signed_headers(headers: Mapping[str, str], signed: tuple[str, ...]) -> None:
    must = {"host"} | {name for name in headers if name.startswith("x-amz-")}
    if unsigned := must.difference(signed):
        raise InvalidSignature(f"These headers must be signed: {', '.join(sorted(unsigned))}.")
    if absent := set(signed).difference(headers):
        raise InvalidSignature(f"{len(absent)} of the SignedHeaders are not in the request.")


def _check_timestamp(timestamp: datetime, now: datetime) -> None:
    """Check the clock. The message has the server's time, by which the JavaScript SDK corrects its clock."""
    sent, clock = f"{timestamp:{SIGV4_TIMESTAMP}}", f"{now:{SIGV4_TIMESTAMP}}"
    if timestamp < now - MAX_CLOCK_SKEW:
        limit = f"{now - MAX_CLOCK_SKEW:{SIGV4_TIMESTAMP}}"
        raise InvalidSignature(f"Signature expired: {sent} is now earlier than {limit} ({clock} - 5 min.)")
    if timestamp > now + MAX_CLOCK_SKEW:
        limit = f"{now + MAX_CLOCK_SKEW:{SIGV4_TIMESTAMP}}"
        raise InvalidSignature(f"Signature not yet current: {sent} is still later than {limit} ({clock} + 5 min.)")


@dataclass
class _RequestToSign:
    """The attributes of botocore's AWSRequest that its signer reads."""

    method: str
    url: str
    headers: Any
    body: bytes
    context: dict[str, str]
    params: dict[str, str] = field(default_factory=dict)


class _ServerSigner(SigV4Auth):  # type: ignore[misc]
    def headers_to_sign(self, request: _RequestToSign) -> Any:
        return request.headers  # the client's choice: botocore would drop headers that it never signs itself


def _compute_signature(request: SignedRequest, authorization: _Authorization, timestamp: datetime, secret: str) -> str:
    headers = HTTPHeaders()
    for name in dict.fromkeys(authorization.signed_headers):
        headers[name] = request.headers[name]
    to_sign = _RequestToSign(
        method=request.method,
        url=f"http://localhost{request.target}",  # any host: the signature uses the Host header
        headers=headers,
        body=request.body,
        context={"timestamp": f"{timestamp:{SIGV4_TIMESTAMP}}"},
    )
    signer = _ServerSigner(Credentials(authorization.access_key, secret), SIGNING_NAME, authorization.region)
    string_to_sign = signer.string_to_sign(to_sign, signer.canonical_request(to_sign))
    return str(signer.signature(string_to_sign, to_sign))
