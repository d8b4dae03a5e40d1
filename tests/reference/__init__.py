"""The slow, obvious twin of the engine, written from docs/steps/ and never from the kernels."""
