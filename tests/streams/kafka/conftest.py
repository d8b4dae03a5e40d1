from tests.fixtures.roles import broker

__all__ = ["broker"]
