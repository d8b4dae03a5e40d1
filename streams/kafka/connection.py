"""How Kafka is reached: the brokers' addresses and what lets both clients in, as one frozen value."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """Addresses (host:port,...) and, unless `security` is plaintext, how to show who we are.

    `security` is ssl, sasl_plaintext or sasl_ssl, as Kafka has it. `ca`, `cert` and `key` are PEM files; without a
    `ca` the system's are trusted. As text it is its addresses, so that lines which name the broker hold no secret.
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
        """Whether we have a name and a password."""
        return self.security.startswith("sasl")

    def confluent(self) -> dict[str, Any]:
        """The settings of any librdkafka client."""
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
        """For aiokafka: the broker's certificate and its name are checked. Raises `OSError` for an unusable file."""
        context = ssl.create_default_context(cafile=self.ca or None)
        if self.cert:
            # without a password of its own OpenSSL would ask the terminal for that of an encrypted key
            context.load_cert_chain(self.cert, self.key, password="")
        return context

    def aiokafka(self) -> dict[str, Any]:
        """The settings of any aiokafka client."""
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
        """The settings of a Faust app beside its brokers' URLs."""
        from faust.auth import SASLCredentials, SSLCredentials  # here: who only produces needs no Faust

        context = self.ssl_context() if self.tls else None
        if self.sasl:
            return {
                "broker_credentials": SASLCredentials(
                    username=self.user, password=self.password, mechanism=self.mechanism, ssl_context=context
                )
            }
        return {} if context is None else {"broker_credentials": SSLCredentials(context)}


Kafka = KafkaConnection | str  # a plain text is the addresses of brokers that let everybody in


def as_connection(kafka: Kafka) -> KafkaConnection:
    """The whole of it."""
    return KafkaConnection(kafka) if isinstance(kafka, str) else kafka


def librdkafka_settings(kafka: Kafka) -> dict[str, Any]:
    """The settings that every librdkafka client begins with."""
    return as_connection(kafka).confluent()
