"""The compiled part of `recorder`: C sources, and the extension module `core` where they were compiled."""
