from tests.fixtures.servers import postgresql_url, redis_server, stoppable_redis, until

__all__ = ["postgresql_url", "redis_server", "stoppable_redis", "until"]
