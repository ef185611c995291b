"""Hosts of ours: callback implementations to replay and fuzz, one correct and one with a bug."""
