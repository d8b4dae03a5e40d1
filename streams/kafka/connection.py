"""The connection to Kafka: brokers' addresses and credentials for both client libraries, as one frozen value."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """Addresses (host:port,...) and, unless `security` is plaintext, the credentials.

    `security` is plaintext, ssl, sasl_plaintext or sasl_ssl, as in Kafka. `ca`, `cert` and `key` are PEM files; without
    `ca` the system's authorities are trusted. `str` gives only the addresses, so that a line about the broker holds no
    secret.
    """

    bootstrap: str
    security: str = "plaintext"
    ca: str = ""
    cert: str = ""
    key: str = ""
    mechanism: str = ""
    user: str = ""
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        return self.bootstrap

    @property
    def addresses(self) -> list[str]:
        """Each broker's host:port."""
        return [address.strip() for address in self.bootstrap.split(",")]

    @property
    def tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.security.endswith("ssl")

    @property
    def sasl(self) -> bool:
        """Whether we authenticate with a name and a password."""
        return self.security.startswith("sasl")

    def confluent(self) -> dict[str, Any]:
        """Return the settings of any librdkafka client."""
        found = {"bootstrap.servers": self.bootstrap}
        if self.security != "plaintext":
            found["security.protocol"] = self.security
        if self.tls:
            files = {"ssl.ca": self.ca, "ssl.certificate": self.cert, "ssl.key": self.key}
            found |= {f"{name}.location": path for name, path in files.items() if path}
        if self.sasl:
            found |= {
                "sasl.mechanism": self.mechanism,
                "sasl.username": self.user,
                "sasl.password": self.password,
            }
        return found

    def ssl_context(self) -> ssl.SSLContext:
        """Make aiokafka's TLS context, which checks the broker's certificate and its name.

        Raises `OSError` for an unusable file.
        """
        context = ssl.create_default_context(cafile=self.ca or None)
        if self.cert:
            # without a password OpenSSL would ask for that of an encrypted key on the terminal
            context.load_cert_chain(self.cert, self.key, password="")
        return context

    def aiokafka(self) -> dict[str, Any]:
        """Return the settings of any aiokafka client."""
        found: dict[str, Any] = {
            "bootstrap_servers": self.addresses,
            "security_protocol": self.security.upper(),
        }
        if self.tls:
            found["ssl_context"] = self.ssl_context()
        if self.sasl:
            found |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.user,
                "sasl_plain_password": self.password,
            }
        return found

    def faust(self) -> dict[str, Any]:
        """Return the settings of a Faust app besides its brokers' URLs."""
        from faust.auth import SASLCredentials, SSLCredentials  # here, as a mere producer needs no Faust

        context = self.ssl_context() if self.tls else None
        if self.sasl:
            return {
                "broker_credentials": SASLCredentials(
                    username=self.user, password=self.password, mechanism=self.mechanism, ssl_context=context
                )
            }
        return {} if context is None else {"broker_credentials": SSLCredentials(context)}


Kafka = KafkaConnection | str  # a text holds the addresses of brokers without authentication


def as_connection(kafka: Kafka) -> KafkaConnection:
    """Turn addresses into a connection; a connection is returned as it is."""
    return KafkaConnection(kafka) if isinstance(kafka, str) else kafka


def librdkafka_settings(kafka: Kafka) -> dict[str, Any]:
    """Return the settings that every librdkafka client begins with."""
    return as_connection(kafka).confluent()
