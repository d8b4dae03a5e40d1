"""Other stream processors that run `bench.workload.job`, each in its own process (see `bench.engine`)."""
