"""Redis and PostgreSQL over TLS with passwords: they work, and what they refuse is one line without the secret."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.servers import PostgresServer, RedisServer
from bench.servers.postgres import BINARIES
from bench.servers.redis import USER
from bench.servers.tls import Tls
from serving.ledger.ledger import Ledger
from serving.recommendations.store import PREFIX as RECOMMENDATIONS
from serving.views.store import PREFIX as VIEWS
from serving.views.store import RedisViews
from streams.errors import Fatal, Retryable, StreamwiseError
from tests.doubles.certificates import authority, signed
from tests.fixtures.servers import needed

OPERATIONS = (Path(__file__).parents[2] / "docs" / "OPERATIONS.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needed(shutil.which("openssl") is not None, "openssl")
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def tls(folder: Path) -> Tls:
    return signed(folder, "server", authority(folder, "ca"))


@pytest.fixture(scope="module")
def other_ca(folder: Path, tls: Tls) -> Path:
    return authority(folder, "other")[0]


@pytest.fixture(scope="module")
def redis_url(tls: Tls) -> Iterator[str]:
    needed(shutil.which("redis-server") is not None, "redis-server")
    with RedisServer(tls=tls) as server:
        yield server.url


@pytest.fixture(scope="module")
def ledger_url(tls: Tls) -> Iterator[str]:
    needed(bool(BINARIES), "PostgreSQL")
    with PostgresServer(tls=tls) as server:
        yield server.url


def refused_by_redis(url: str) -> str:
    """The line that a store refuses us with."""
    store = RedisViews(url)
    with pytest.raises(Retryable) as raised:
        store.ping()
    store.close()
    return checked(raised.value)


def refused_by_postgresql(url: str) -> str:
    ledger = Ledger(url)
    with pytest.raises(Fatal) as raised:
        ledger.open()
    ledger.close()
    return checked(raised.value)


def checked(error: StreamwiseError) -> str:
    line = str(error)
    assert "\n" not in line
    assert "secret" not in line
    assert "guessed" not in line
    return line


@pytest.mark.parametrize("prefix", [VIEWS, RECOMMENDATIONS])
def test_views_and_recommendations_are_written_and_read_by_a_user_who_may_no_more(
    redis_url: str, prefix: bytes
) -> None:
    store = RedisViews(redis_url, prefix=prefix)
    store.ping()
    store.write([b"a", b"b"], [b"1", b"2"])
    assert (store.read(b"a"), store.read(b"b"), store.read(b"c")) == (b"1", b"2", None)
    store.close()
    assert f"user {USER.replace('secret', 'PASSWORD')}" in OPERATIONS


def test_redis_refuses_a_wrong_password(redis_url: str) -> None:
    line = refused_by_redis(redis_url.replace(":secret@", ":guessed@"))
    assert line.endswith("check user and password in STREAMWISE_REDIS")


def test_redis_refuses_whoever_names_no_user(redis_url: str) -> None:
    line = refused_by_redis(redis_url.replace("streamwise:secret@", ""))
    assert line.endswith("check user and password in STREAMWISE_REDIS")


def test_a_redis_of_another_authority_is_not_trusted(redis_url: str, tls: Tls, other_ca: Path) -> None:
    line = refused_by_redis(redis_url.replace(str(tls.ca), str(other_ca)))
    assert "certificate verify failed" in line
    assert line.endswith("names the CA as ?ssl_ca_certs=FILE")


def test_a_ca_file_of_redis_that_is_not_there_is_named(redis_url: str, tls: Tls) -> None:
    with pytest.raises(Fatal, match=re.escape("the CA file /nowhere.pem, which is not there")):
        RedisViews(redis_url.replace(str(tls.ca), "/nowhere.pem"))


def test_the_ledger_is_kept_over_tls(ledger_url: str) -> None:
    ledger = Ledger(ledger_url).open()
    assert set(ledger.counts()) == {"alerts", "offers", "outcomes"}
    ledger.close()
    assert ledger.address.endswith("/postgres")


@pytest.mark.parametrize(
    ("wrong", "cause"),
    [
        ({":secret@": ":guessed@"}, "password authentication failed"),
        ({"sslmode=verify-full": "sslmode=disable"}, "no pg_hba.conf entry"),
        ({"ca.pem": "other.pem"}, "certificate verify failed"),
        ({"ca.pem": "nowhere.pem"}, "nowhere.pem"),
    ],
)
def test_what_postgresql_refuses_is_not_tried_again(
    ledger_url: str, other_ca: Path, wrong: dict[str, str], cause: str
) -> None:
    ((there, given),) = wrong.items()
    assert there in ledger_url
    line = refused_by_postgresql(ledger_url.replace(there, given))
    assert cause in line
    assert line.endswith("check user, password, sslmode and sslrootcert in STREAMWISE_LEDGER")
