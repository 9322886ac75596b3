"""The version, in one file. Imports nothing."""

__version__ = "0.1.0"
