"""Backup and restore: what the cluster holds in one encrypted file, and back into an empty cluster."""
