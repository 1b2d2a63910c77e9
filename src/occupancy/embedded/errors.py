"""The one error of the embedded database."""


class EmbeddedError(RuntimeError):
    """The embedded database cannot do what was asked. The text says what is missing and what to do."""
