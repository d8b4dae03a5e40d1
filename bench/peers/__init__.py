"""Other stream processors running `bench.job`, each as a process of its own (see `bench.engine`)."""
