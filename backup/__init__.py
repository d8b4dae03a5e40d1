"""Backup and restore: write what the cluster holds into one encrypted file, and restore it into an empty cluster."""
