"""The settings: one frozen object, read once from the environment (`STREAMWISE_*`) or a `.env` file."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from streams.errors import ConfigError
from streams.kafka import KafkaConnection

from .kafka import kafka_access

ROOT = Path(__file__).parent.parent


class Settings(BaseSettings):
    """The settings. Each has a default that works on one machine."""

    model_config = SettingsConfigDict(env_prefix="STREAMWISE_", env_file=".env", frozen=True, extra="ignore")

    kafka: str = Field(
        "127.0.0.1:9092", description="host:port,... of Kafka brokers; one that answers is enough"
    )
    kafka_security: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = Field(
        "plaintext", description="plaintext, ssl, sasl_plaintext or sasl_ssl"
    )
    kafka_ca: str = Field(
        "", description="PEM file of the CA of the brokers' certificates; the system's CAs if empty"
    )
    kafka_cert: str = Field("", description="PEM file of our own certificate, for mutual TLS")
    kafka_key: str = Field("", description="PEM file of that certificate's key, without a passphrase")
    kafka_mechanism: Literal["SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="SCRAM-SHA-256 or SCRAM-SHA-512, with sasl_..."
    )
    kafka_user: str = Field("", description="user name, with sasl_...")
    kafka_password: str = Field("", repr=False, description="the user's password; a file is better")
    kafka_password_file: str = Field("", description="file whose first line is the password")
    partitions: int = Field(12, ge=1, le=4096, description="partitions of every topic")
    replication: int = Field(1, ge=1, le=9, description="replicas of every topic")
    standbys: int = Field(0, ge=0, le=8, description="standby copies of each partition's rows")
    commit_interval: float = Field(
        4.0,
        ge=0.1,
        le=60.0,
        description="seconds between the worker's commit cycles; a cycle of many rows takes up to 30",
    )
    redis: str = Field(
        "memory://",
        repr=False,
        description="redis://host:port/db (rediss:// with TLS); memory:// uses no Redis",
    )
    ledger: str = Field("", repr=False, description="SQLAlchemy URL; SQLite in the state folder if empty")
    config: Path = Field(ROOT / "config", description="folder of the YAML files")
    state: Path = Field(Path(".streamwise"), description="folder for the local state of a machine")
    host: str = Field("127.0.0.1", description="address that the roles' HTTP ports bind to")
    worker_port: int = Field(9101, ge=0, le=65535)
    learner_port: int = Field(9102, ge=0, le=65535)
    ledger_port: int = Field(9103, ge=0, le=65535)
    server_port: int = Field(9104, ge=0, le=65535)
    backup_port: int = Field(9105, ge=0, le=65535)
    analyst_port: int = Field(9106, ge=0, le=65535)
    reader_port: int = Field(9107, ge=0, le=65535)
    roles: str = Field(
        "", description="role=host:port,... of which the server shows figures; the ports above if empty"
    )

    backup_dir: str = Field("", description="folder of scheduled backups; none are made if empty")
    backup_every: float = Field(6.0, ge=0.001, le=8760.0, description="hours between scheduled backups")
    backup_full_every: int = Field(
        28, ge=1, le=1000, description="one backup in so many is full, the others are increments"
    )
    backup_keep: int = Field(
        4, ge=1, le=1000, description="full backups kept in the folder, with their increments"
    )
    backup_key: str = Field("", description="file of the key for backups; they are not encrypted if empty")

    @field_validator("kafka_ca", "kafka_cert", "kafka_key", "kafka_password_file")
    @classmethod
    def _absolute(cls, path: str) -> str:
        """Make paths absolute: roles that start together run in another folder."""
        return str(Path(path).absolute()) if path else ""

    @cached_property
    def access(self) -> KafkaConnection:
        """The connection to the brokers. Raises `ConfigError`."""
        return kafka_access(self)

    @property
    def phrases(self) -> Path:
        """The file of phrases that the reader finds in messages."""
        old = self.config / "topics.yaml"  # its name until 0.1
        found = self.config / "phrases.yaml"
        return old if old.is_file() and not found.is_file() else found

    @property
    def ledger_url(self) -> str:
        """The SQLAlchemy URL of the ledger's database."""
        return self.ledger or f"sqlite:///{self.state / 'ledger.db'}"

    @property
    def role_addresses(self) -> dict[str, str]:
        """The addresses (host:port) of the roles' HTTP ports."""
        if self.roles:
            pairs = [part.partition("=") for part in self.roles.split(",")]
            return {name.strip(): address.strip() for name, _, address in pairs}
        ports = {
            "worker": self.worker_port,
            "learner": self.learner_port,
            "ledger": self.ledger_port,
            "analyst": self.analyst_port,
        }
        return {role: f"{self.host}:{port}" for role, port in ports.items() if port}


def load_settings(**given: object) -> Settings:
    """Load the settings; those given on the command line take precedence. Raises a `ConfigError` of one line."""
    try:
        settings = Settings(**{key: value for key, value in given.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = "STREAMWISE_" + "_".join(map(str, first["loc"])).upper()
        field = Settings.model_fields.get(str(first["loc"][0]))
        got = f", got {first['input']!r}" if field is not None and field.repr else ""
        raise ConfigError("settings", None, f"{name}: {first['msg']}{got}") from error
    _ = settings.access  # reports a wrong setting before anything starts
    return settings
