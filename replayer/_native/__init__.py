"""The compiled part of `replayer`: C sources, and the extension module `core` where they were compiled."""
