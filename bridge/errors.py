"""Errors for people: each message says what was got, what was wanted, and what to do."""


class BridgeError(Exception):
    """Anything a user can put right. The message is one line and is shown without a traceback."""


class ConfigError(BridgeError):
    """A configuration that cannot be run."""


class DataError(BridgeError):
    """A data set that cannot be read, or that leaves too few items."""


class ModelError(BridgeError):
    """A model or tokenizer that cannot be found, loaded or understood."""


class StoreError(BridgeError):
    """A store of states that cannot be read or written."""


class FitError(BridgeError):
    """States that a map cannot be fitted on or applied to."""


class RecordError(BridgeError):
    """A record that cannot be read or written."""


def interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind an error: a library that it stops half-way may fail while it tidies up."""
    if error is None or isinstance(error, KeyboardInterrupt):
        return error is not None
    return interrupted(error.__cause__) or interrupted(error.__context__)
