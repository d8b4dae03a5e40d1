"""A Kafka that encrypts, asks for a certificate and a password and allows each role what it needs, nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from agents.topology.acls import ROLES, permissions
from bench.servers import KafkaServer, Locked
from bench.servers.process import HOST, free_ports
from bench.servers.tls import Tls
from streams.kafka.connection import KafkaConnection
from streams.kafka.permissions import TRANSACTIONS, Permission
from streams.kafka.topic_admin import TopicSpec, ensure

MECHANISM = "SCRAM-SHA-512"
ADMIN = "admin"
JAAS = "org.apache.kafka.common.security.scram.ScramLoginModule required"
EXTRA = "unlucky"  # a user who may do nothing


def password(user: str) -> str:
    """Each user's own, to be looked for where none of them may stand."""
    return f"hidden-{user}-word"


class SecuredKafka:
    """`SASL_SSL` with SCRAM; a user named after each role, whose ACLs are those of `agents/topology/acls.py`."""

    def __init__(self, folder: Path, tls: Tls, own: Tls) -> None:
        self.tls, self.own = tls, own
        port = free_ports(1)[0]
        self.addresses = f"{HOST}:1,{HOST}:{port}"  # nobody listens at the first one
        users = {name: password(name) for name in (ADMIN, EXTRA, *ROLES)}
        locked = Locked("SASL_SSL", users, self.access(ADMIN).confluent())
        self.server = KafkaServer(port, properties=self._properties(folder), locked=locked)

    def _properties(self, folder: Path) -> dict[str, str]:
        both = folder / "broker.pem"
        both.write_text(self.tls.key.read_text() + self.tls.cert.read_text())
        login = f'{JAAS} username="{ADMIN}" password="{password(ADMIN)}";'
        return {
            "sasl.enabled.mechanisms": MECHANISM,
            "sasl.mechanism.inter.broker.protocol": MECHANISM,
            f"listener.name.sasl_ssl.{MECHANISM.lower()}.sasl.jaas.config": login,
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(both),
            "listener.name.sasl_ssl.ssl.client.auth": "required",
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.tls.ca),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:{ADMIN};User:ANONYMOUS",  # the controller's own listener is plain
        }

    def access(self, user: str) -> KafkaConnection:
        """How `user` reaches it."""
        return KafkaConnection(
            self.addresses, "sasl_ssl", str(self.tls.ca), str(self.own.cert), str(self.own.key), MECHANISM, user,
            password(user),
        )  # fmt: skip

    def settings(self, user: str) -> dict[str, str]:
        """The same as settings, for `load_settings`."""
        files = {"ca": str(self.tls.ca), "cert": str(self.own.cert), "key": str(self.own.key)}
        given = {"security": "sasl_ssl", **files, "user": user, "password": password(user)}
        return {"kafka": self.addresses, **{f"kafka_{name}": value for name, value in given.items()}}

    def allow(self, role: str, wanted: Iterable[Permission]) -> None:
        """Give a user permissions."""
        admin = AdminClient(self.access(ADMIN).confluent())
        for future in admin.create_acls([binding(role, each) for each in wanted]).values():
            future.result()

    def make_topic(self, name: str) -> None:
        """A topic of one partition."""
        ensure(self.access(ADMIN), {name: TopicSpec(name)}, partitions=1, replication=1)

    def take_back(self, role: str, unwanted: Permission) -> None:
        """Take one permission from a user."""
        admin = AdminClient(self.access(ADMIN).confluent())
        found = binding(role, unwanted)
        same = AclBindingFilter(
            found.restype, found.name, found.resource_pattern_type, found.principal, found.host, found.operation,
            found.permission_type,
        )  # fmt: skip
        for future in admin.delete_acls([same]).values():
            assert len(future.result()) == 1

    def allow_roles(self, sources: list[str]) -> None:
        """Each role what it needs."""
        for role in ROLES:
            self.allow(role, permissions(role, sources))


def binding(role: str, permission: Permission) -> AclBinding:
    """As Kafka's admin client has it."""
    kind = ResourceType[permission.kind.upper().replace("-", "_")]
    pattern = ResourcePatternType.PREFIXED if permission.kind == TRANSACTIONS else ResourcePatternType.LITERAL
    return AclBinding(
        kind, permission.name, pattern, f"User:{role}", "*", permission.operation,
        AclPermissionType.ALLOW,
    )  # fmt: skip
