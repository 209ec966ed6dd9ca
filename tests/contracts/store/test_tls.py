"""A Redis behind TLS (``rediss://``): everything that speaks to it verifies whom it speaks to, by one rule."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from services.cli.commands.doctor import doctor
from services.cli.local.embedded_redis import find_refusal
from shared import settings
from shared.jobs import celery_app
from shared.settings import SettingsError
from shared.state.messages import ImportDataset
from shared.store.redis import PROMPT, RedisStore
from shared.store.redis_probe import RedisProbe


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificate of a server at 127.0.0.1 that has signed itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Redis of the tests")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "redis.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


@pytest.fixture(scope="module")
def behind_tls(redis_server: str, certificate: Path) -> Iterator[str]:
    """The URL of a server that speaks TLS and passes on to Redis what it is told."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    at = urlsplit(redis_server)
    assert at.hostname
    address = (at.hostname, at.port or 0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_pass_on, args=(listener, context, address), daemon=True).start()
        yield f"rediss://127.0.0.1:{listener.getsockname()[1]}/0"


def _pass_on(listener: socket.socket, context: ssl.SSLContext, address: tuple[str, int]) -> None:
    while True:
        try:
            plain, _ = listener.accept()
        except OSError:  # the test is over
            return
        threading.Thread(target=_serve, args=(plain, context, address), daemon=True).start()


def _serve(plain: socket.socket, context: ssl.SSLContext, address: tuple[str, int]) -> None:
    with (
        suppress(OSError),
        context.wrap_socket(plain, server_side=True) as client,
        socket.create_connection(address) as server,
    ):
        threading.Thread(target=_copy, args=(server, client), daemon=True).start()
        _copy(client, server)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while said := source.recv(65536):
            target.sendall(said)
        target.shutdown(socket.SHUT_RDWR)


def ask_the_store() -> None:
    RedisStore(settings.load().redis_url, PROMPT).ping()


def ask_the_probe() -> None:
    if not RedisProbe(settings.load().redis_url).is_answering():
        raise redis.ConnectionError


def ask_the_queue() -> None:
    app = celery_app.create_celery_app(settings.load())
    with app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, interval_start=0)
    celery_app.MessageQueue(app).send(
        ImportDataset(arn="arn:aws:personalize:us-east-1:000000000000:dataset-import-job/tls")
    )
    assert celery_app.MessageQueue(app).count_waiting("importing")


ASKING = [ask_the_store, ask_the_probe, ask_the_queue]


@pytest.mark.parametrize("ask", ASKING)
class TestOneRule:
    def test_who_is_vouched_for_is_spoken_to(
        self, ask: Callable[[], None], behind_tls: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FORETASTE_REDIS_URL", behind_tls)
        monkeypatch.setenv("FORETASTE_REDIS_CA_FILE", str(certificate))
        ask()

    def test_a_stranger_is_not(self, ask: Callable[[], None], behind_tls: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FORETASTE_REDIS_URL", behind_tls)
        with pytest.raises(Exception, match=r"CERTIFICATE_VERIFY_FAILED|^$"):
            ask()

    def test_nor_is_who_answers_under_another_name(
        self, ask: Callable[[], None], behind_tls: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FORETASTE_REDIS_URL", behind_tls.replace("127.0.0.1", "localhost"))
        monkeypatch.setenv("FORETASTE_REDIS_CA_FILE", str(certificate))
        with pytest.raises(Exception, match=r"CERTIFICATE_VERIFY_FAILED|^$"):
            ask()


def test_what_is_said_of_a_stranger_names_the_certificate(
    behind_tls: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FORETASTE_REDIS_URL", behind_tls)
    assert "CERTIFICATE_VERIFY_FAILED" in (find_refusal(settings.load().redis_url) or "")
    said = CliRunner().invoke(doctor, ["--data-dir", str(tmp_path)]).output
    assert "CERTIFICATE_VERIFY_FAILED" in said


@pytest.mark.parametrize("word", ["ssl_cert_reqs=none", "ssl_cert_reqs=CERT_OPTIONAL", "ssl_check_hostname=False"])
def test_a_url_that_wants_no_certificate_is_refused(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORETASTE_REDIS_URL", f"rediss://:secret@redis.example:6379/0?{word}")
    with pytest.raises(SettingsError, match="FORETASTE_REDIS_CA_FILE") as refused:
        settings.load()
    assert word.split("=")[0] in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_ca_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORETASTE_REDIS_URL", "rediss://redis.example:6379/0")
    monkeypatch.setenv("FORETASTE_REDIS_CA_FILE", "/no/such.pem")
    with pytest.raises(SettingsError, match=r"FORETASTE_REDIS_CA_FILE: /no/such\.pem is no file"):
        settings.load()


def test_what_is_read_may_be_read_again(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`foretaste up` hands its processes the URL that it has read."""
    monkeypatch.setenv("FORETASTE_REDIS_URL", "rediss://:p%40ss@redis.example:6379/1?ssl_certfile=/own.pem")
    monkeypatch.setenv("FORETASTE_REDIS_CA_FILE", str(certificate))
    once = settings.load().redis_url
    monkeypatch.setenv("FORETASTE_REDIS_URL", once)
    assert settings.load().redis_url == once
    assert once.startswith("rediss://:p%40ss@redis.example:6379/1?ssl_certfile=/own.pem&")
