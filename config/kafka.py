"""Makes the connection to Kafka from the settings. It checks them together, and no error shows a secret."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from streams.errors import ConfigError
from streams.kafka import KafkaConnection

if TYPE_CHECKING:
    from .settings import Settings

# the settings for a broker without authentication, whatever the environment says
OPEN = {
    "kafka_security": "plaintext",
    **dict.fromkeys(("kafka_ca", "kafka_cert", "kafka_key", "kafka_user"), ""),
    **dict.fromkeys(("kafka_password", "kafka_password_file"), ""),
}


def kafka_access(settings: Settings) -> KafkaConnection:
    """Return the connection. Raises a `ConfigError` that names the setting that is missing, superfluous or wrong."""
    security = settings.kafka_security
    tls, sasl = security.endswith("ssl"), security.startswith("sasl")
    for name, applies in (
        ("ca", tls), ("cert", tls), ("key", tls), ("user", sasl), ("password", sasl), ("password_file", sasl),
    ):  # fmt: skip
        if getattr(settings, f"kafka_{name}") and not applies:
            _refuse(name, f"is set, but STREAMWISE_KAFKA_SECURITY is {security}: set that, or leave this out")
    for name in ("ca", "cert", "key", "password_file"):
        path = getattr(settings, f"kafka_{name}")
        if path and not Path(path).is_file():
            _refuse(name, f"there is no file {path}")
    if bool(settings.kafka_cert) != bool(settings.kafka_key):
        given, other = ("cert", "key") if settings.kafka_cert else ("key", "cert")
        _refuse(other, f"is missing: STREAMWISE_KAFKA_{given.upper()} needs it")
    if sasl and not settings.kafka_user:
        _refuse("user", f"is missing: STREAMWISE_KAFKA_SECURITY is {security}")
    found = KafkaConnection(
        settings.kafka, security, settings.kafka_ca, settings.kafka_cert, settings.kafka_key,
        settings.kafka_mechanism if sasl else "", settings.kafka_user, _password(settings) if sasl else "",
    )  # fmt: skip
    _try_files(found)
    return found


def _password(settings: Settings) -> str:
    if settings.kafka_password and settings.kafka_password_file:
        _refuse("password_file", "is set beside STREAMWISE_KAFKA_PASSWORD: leave one of them out")
    if not settings.kafka_password_file:
        if not settings.kafka_password:
            _refuse("password_file", "is missing, and so is STREAMWISE_KAFKA_PASSWORD: set one of them")
        return settings.kafka_password
    try:
        lines = Path(settings.kafka_password_file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        _refuse("password_file", f"{settings.kafka_password_file} cannot be read: {_cause(error)}")
    if not lines or not lines[0]:
        _refuse("password_file", f"{settings.kafka_password_file} has no password in its first line")
    return lines[0]


def _try_files(access: KafkaConnection) -> None:
    """Load the certificates now: one error here is clearer than two clients that fail later, each in its own words."""
    if not access.tls:
        return
    try:
        ssl.create_default_context(cafile=access.ca or None)
    except OSError as error:
        _refuse("ca", f"{access.ca} holds no certificate in PEM: {_cause(error)}")
    try:
        access.ssl_context()
    except OSError as error:
        _refuse(
            "cert", f"{access.cert} and its key cannot be used (PEM, without a passphrase): {_cause(error)}"
        )


def _cause(error: OSError | UnicodeDecodeError) -> str:
    return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error)


def _refuse(name: str, why: str) -> NoReturn:
    raise ConfigError("settings", None, f"STREAMWISE_KAFKA_{name.upper()}: {why}")
