"""The scorer `error_rate`."""

from . import error_rate  # noqa: F401
