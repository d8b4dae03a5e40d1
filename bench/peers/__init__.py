"""Other stream processors running `bench.workload.job`, each as a process of its own (see `bench.engine`)."""
