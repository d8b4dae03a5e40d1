from tests.fixtures.servers import postgresql_url, stack

__all__ = ["postgresql_url", "stack"]
