"""The version, in one file. May import: the standard library."""

__version__ = "0.1.0"
