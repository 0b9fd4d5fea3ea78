"""The errors that refattn raises on purpose: one sentence each, naming the argument and what was expected."""


class RefattnError(Exception):
    """Base of every error that refattn raises on purpose."""


class InvalidValue(RefattnError, ValueError):
    """An argument of the right type holds a value that cannot be used."""


class InvalidType(RefattnError, TypeError):
    """An argument is of a type that cannot be used."""


class TargetError(RefattnError):
    """The kernel under test cannot be imported or called."""


class MissingExtra(RefattnError, ImportError):
    """An optional dependency is needed and not installed."""


class PlatformError(RefattnError, RuntimeError):
    """A library or a device does not compute as the proofs take for granted."""
