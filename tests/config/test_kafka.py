"""Settings of a secured Kafka are checked together, name what is wrong, and hide what is secret."""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path
from typing import Any

import pytest
from faust.auth import SASLCredentials, SSLCredentials

from agents.processes.supervisor import environment
from config.kafka import OPEN
from config.settings import Settings, load_settings
from streams.errors import ConfigError
from streams.kafka.connection import KafkaConnection, as_connection, librdkafka_settings
from streams.transport.app import make_app
from tests.doubles.certificates import authority, signed

SECRET = "hidden-word"


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    """A file that a TLS client takes."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl missing")
    return authority(tmp_path, "ca")[0]


def load(**given: Any) -> Settings:
    return load_settings(**{f"kafka_{name}": value for name, value in given.items()})


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"security": "tls"}, "SECURITY: Input should be 'plaintext', 'ssl', "),
        ({"security": "sasl_plaintext"}, "USER: is missing: STREAMWISE_KAFKA_SECURITY is sasl_plaintext"),
        (
            {"security": "sasl_plaintext", "user": "a"},
            "PASSWORD_FILE: is missing, and so is STREAMWISE_KAFKA_PASSWORD: set one of them",
        ),
        (
            {"security": "sasl_plaintext", "user": "a", "password": SECRET, "password_file": __file__},
            "PASSWORD_FILE: is set beside STREAMWISE_KAFKA_PASSWORD: leave one of them out",
        ),
        ({"security": "sasl_plaintext", "mechanism": "PLAIN"}, "MECHANISM: Input should be 'SCRAM-SHA-256' or "),
        (
            {"password": SECRET},
            "PASSWORD: is set, but STREAMWISE_KAFKA_SECURITY is plaintext: set that, or leave this out",
        ),
        ({"security": "ssl", "user": "a"}, "USER: is set, but STREAMWISE_KAFKA_SECURITY is ssl: "),
        ({"security": "ssl", "ca": "/nowhere/ca.pem"}, "CA: there is no file /nowhere/ca.pem"),
        ({"security": "ssl", "ca": __file__}, f"CA: {__file__} holds no certificate in PEM: "),
        ({"security": "ssl", "cert": __file__}, "KEY: is missing: STREAMWISE_KAFKA_CERT needs it"),
        ({"security": "ssl", "key": __file__}, "CERT: is missing: STREAMWISE_KAFKA_KEY needs it"),
        ({"security": "ssl", "cert": __file__, "key": __file__}, f"CERT: {__file__} and its key cannot be used "),
    ],
    ids=str,
)  # fmt: skip
def test_what_does_not_go_together_is_one_line_with_the_settings_name(
    given: dict[str, str], line: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        load(**given)
    assert str(raised.value).startswith(f"settings: STREAMWISE_KAFKA_{line}")
    assert "\n" not in str(raised.value)
    assert SECRET not in str(raised.value)


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked(tmp_path: Path, ca: Path) -> None:
    own = signed(tmp_path, "own", (ca, ca.with_suffix(".key")), passphrase=SECRET)
    with pytest.raises(ConfigError, match=r"STREAMWISE_KAFKA_CERT: .* without a passphrase"):
        load(security="ssl", ca=str(ca), cert=str(own.cert), key=str(own.key))


def test_both_clients_are_given_the_same(tmp_path: Path, ca: Path) -> None:
    own = signed(tmp_path, "own", (ca, ca.with_suffix(".key")))
    word = tmp_path / "word"
    word.write_text(f"{SECRET}\n")
    found = load(
        security="sasl_ssl", ca=str(ca), cert=str(own.cert), key=str(own.key), user="worker", password_file=str(word)
    ).access  # fmt: skip
    assert librdkafka_settings(found) == {
        "bootstrap.servers": "127.0.0.1:9092",
        "security.protocol": "sasl_ssl",
        "ssl.ca.location": str(ca),
        "ssl.certificate.location": str(own.cert),
        "ssl.key.location": str(own.key),
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "worker",
        "sasl.password": SECRET,
    }
    credentials = found.faust()["broker_credentials"]
    assert isinstance(credentials, SASLCredentials)
    assert (credentials.protocol.value, credentials.mechanism.value) == ("SASL_SSL", "SCRAM-SHA-512")
    assert (credentials.username, credentials.password) == ("worker", SECRET)
    assert credentials.ssl_context is not None
    assert credentials.ssl_context.verify_mode == ssl.CERT_REQUIRED
    assert credentials.ssl_context.check_hostname


def test_tls_without_a_name_and_a_name_without_tls(ca: Path) -> None:
    encrypted = load(security="ssl", ca=str(ca)).access
    assert librdkafka_settings(encrypted).keys() == {
        "bootstrap.servers",
        "security.protocol",
        "ssl.ca.location",
    }
    assert isinstance(encrypted.faust()["broker_credentials"], SSLCredentials)
    named = load(security="sasl_plaintext", user="a", password=SECRET).access
    assert "ssl.ca.location" not in librdkafka_settings(named)
    assert named.faust()["broker_credentials"].ssl_context is None


def test_a_plain_text_is_the_addresses() -> None:
    assert librdkafka_settings("a:1,b:2") == {"bootstrap.servers": "a:1,b:2"}
    assert as_connection("a:1, b:2").addresses == ["a:1", "b:2"]
    assert as_connection("a:1").faust() == {}
    assert load().access == KafkaConnection("127.0.0.1:9092")


def test_faust_is_given_every_address(tmp_path: Path) -> None:
    app = make_app("role", "127.0.0.1:1,127.0.0.1:2", partitions=1, datadir=str(tmp_path))
    assert [(url.host, url.port) for url in app.conf.broker_consumer] == [("127.0.0.1", 1), ("127.0.0.1", 2)]


def test_secrets_are_never_shown() -> None:
    stores = {"redis": f"redis://a:{SECRET}@h/0", "ledger": f"postgresql://a:{SECRET}@h/d"}
    settings = load_settings(
        kafka="h:1", kafka_security="sasl_plaintext", kafka_user="a", kafka_password=SECRET, **stores
    )
    shown = [repr(settings), str(settings), repr(settings.access), str(settings.access), f"{settings.access}"]
    shown.append(repr(settings.access.faust()))
    assert [text for text in shown if SECRET in text] == []


def test_a_secret_of_the_wrong_type_is_not_repeated() -> None:
    with pytest.raises(ConfigError, match="STREAMWISE_KAFKA_PASSWORD: ") as raised:
        load_settings(kafka_password=4711)
    assert "4711" not in str(raised.value)


def test_a_child_role_reaches_kafka_as_its_parent_does(
    tmp_path: Path, ca: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    parent = load(security="sasl_ssl", ca=ca.name, user="a", password=SECRET)
    for name, value in environment(parent, False).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_settings().access == parent.access


def test_the_demos_own_broker_lets_everybody_in_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STREAMWISE_KAFKA_SECURITY", "sasl_plaintext")
    monkeypatch.setenv("STREAMWISE_KAFKA_USER", "a")
    monkeypatch.setenv("STREAMWISE_KAFKA_PASSWORD", SECRET)
    assert load_settings(kafka="h:1", **OPEN).access == KafkaConnection("h:1")
