from tests.fixtures.roles import broker, decision, encode, example, settings, start, until

__all__ = ["broker", "decision", "encode", "example", "settings", "start", "until"]
