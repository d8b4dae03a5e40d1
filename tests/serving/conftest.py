from tests.fixtures.roles import broker
from tests.fixtures.servers import postgresql_url, redis_server, stoppable_redis, until

__all__ = ["broker", "postgresql_url", "redis_server", "stoppable_redis", "until"]
