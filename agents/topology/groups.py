"""The consumer groups of the roles: the broker stores their committed offsets under these names."""

WORKER = "streamwise-worker"
LEARNER = "streamwise-learner"
LEDGER = "streamwise-ledger"
ANALYST = "streamwise-analyst"
READER = "streamwise-reader"
CORRECTIONS = "streamwise-corrections"  # no reader joins it, because each one reads all corrections
