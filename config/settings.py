"""Where things are: one frozen object, read once from the environment (`STREAMWISE_*`) or a `.env` file."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from streams.errors import ConfigError

ROOT = Path(__file__).parent.parent


class Settings(BaseSettings):
    """Every setting has a default that works on one machine."""

    model_config = SettingsConfigDict(env_prefix="STREAMWISE_", env_file=".env", frozen=True, extra="ignore")

    kafka: str = Field("127.0.0.1:9092", description="host:port of a Kafka broker")
    partitions: int = Field(12, ge=1, le=4096, description="partitions of every topic")
    replication: int = Field(1, ge=1, le=9, description="replicas of every topic")
    standbys: int = Field(0, ge=0, le=8, description="standby copies of each partition's rows")
    commit_interval: float = Field(
        4.0, ge=0.1, le=60.0, description="seconds between the worker's commit cycles"
    )
    redis: str = Field("memory://", description="redis://host:port/db, or memory:// for none")
    ledger: str = Field("", description="SQLAlchemy URL; SQLite in the state folder if empty")
    config: Path = Field(ROOT / "config", description="folder of features.yaml, models.yaml, policies.yaml")
    state: Path = Field(Path(".streamwise"), description="folder for what a machine keeps")
    host: str = Field("127.0.0.1", description="address that the roles' HTTP ports bind to")
    worker_port: int = Field(9101, ge=0, le=65535)
    learner_port: int = Field(9102, ge=0, le=65535)
    ledger_port: int = Field(9103, ge=0, le=65535)
    server_port: int = Field(9104, ge=0, le=65535)
    backup_port: int = Field(9105, ge=0, le=65535)
    roles: str = Field(
        "", description="role=host:port,... that the server asks for figures; the ports above if empty"
    )

    backup_dir: str = Field("", description="folder of scheduled backups; none are made if empty")
    backup_every: float = Field(6.0, ge=0.001, le=8760.0, description="hours between scheduled backups")
    backup_full_every: int = Field(
        28, ge=1, le=1000, description="every so many of them is a full one, the others are increments"
    )
    backup_keep: int = Field(
        4, ge=1, le=1000, description="full backups kept in the folder, with their increments"
    )
    backup_key: str = Field("", description="file of the key for backups; they are not encrypted if empty")

    @property
    def ledger_url(self) -> str:
        """The ledger's database."""
        return self.ledger or f"sqlite:///{self.state / 'ledger.db'}"

    @property
    def role_addresses(self) -> dict[str, str]:
        """Where the roles' HTTP ports are."""
        if self.roles:
            pairs = [part.partition("=") for part in self.roles.split(",")]
            return {name.strip(): address.strip() for name, _, address in pairs}
        ports = {"worker": self.worker_port, "learner": self.learner_port, "ledger": self.ledger_port}
        return {role: f"{self.host}:{port}" for role, port in ports.items() if port}


def load_settings(**given: object) -> Settings:
    """The settings, with what was given on the command line on top. Raises `ConfigError` in one line."""
    try:
        return Settings(**{key: value for key, value in given.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = "STREAMWISE_" + "_".join(map(str, first["loc"])).upper()
        raise ConfigError("settings", None, f"{name}: {first['msg']}, got {first['input']!r}") from error
