"""The admin: files with their content, settings and grants; runs, tokens and records to look at."""

from . import files, records, runs, tokens

__all__ = ["files", "records", "runs", "tokens"]
