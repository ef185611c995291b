"""Providers of ours: small programs that really do something and report it through a callback."""
