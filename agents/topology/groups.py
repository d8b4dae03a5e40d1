"""The consumer groups of the roles: what they have taken is known to the broker by these names."""

WORKER = "streamwise-worker"
LEARNER = "streamwise-learner"
LEDGER = "streamwise-ledger"
ANALYST = "streamwise-analyst"
READER = "streamwise-reader"
CORRECTIONS = "streamwise-corrections"  # joined by nobody: each reader learns all of them
