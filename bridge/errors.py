"""Errors for people: each message is one line, `<what was got>; wanted <what was wanted>: <what to do>`."""


class BridgeError(Exception):
    """Anything that a user can correct. The message is shown without a traceback."""


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


def layer_out_of_range(layer: object, name: str, n_blocks: int) -> ConfigError:
    """The error for a layer that the model `name`, of `n_blocks` blocks, does not have."""
    return ConfigError(
        f"layer {layer} is out of range for {name}; wanted 0..{n_blocks}, as it has {n_blocks} blocks: change it"
    )


def interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C caused an error: a library that is interrupted may raise another error while it cleans up."""
    if error is None or isinstance(error, KeyboardInterrupt):
        return error is not None
    return interrupted(error.__cause__) or interrupted(error.__context__)
