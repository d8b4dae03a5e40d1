"""The slow, obvious twin of the engine, written from docs/ARCHITECTURE.md and never from the kernels."""
