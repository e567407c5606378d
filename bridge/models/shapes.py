"""How many blocks a model has and how wide its states are, without loading it."""

from bridge.errors import ModelError
from bridge.models.fingerprints import origin, read_config

# With one of these keys, the values beside it may belong to another part of the model.
NESTED = ("text_config", "decoder", "generator", "text_encoder", "auto_map")


def shape(name: str, revision: str | None = None, trust_remote_code: bool = False) -> tuple[int, int]:
    """How many blocks a model has and how wide its states are, from its config alone.

    transformers is loaded only where config.json lacks `num_hidden_layers` or `hidden_size`.

    Raises:
        ModelError: the model is not found, or its config names neither.
    """
    config = read_config(name, revision)
    n_blocks, width = config.get("num_hidden_layers"), config.get("hidden_size")
    if isinstance(n_blocks, int) and isinstance(width, int) and not any(key in config for key in NESTED):
        return n_blocks, width
    import transformers

    options = origin(name, revision)
    try:
        read = transformers.AutoConfig.from_pretrained(
            options.pop("path"), trust_remote_code=trust_remote_code, **options
        ).get_text_config()
        return int(read.num_hidden_layers), int(read.hidden_size)
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise ModelError(
            f"the config of {name} does not tell its layers and width ({type(error).__name__}: {text}); wanted "
            "num_hidden_layers and hidden_size: give another model"
        ) from error
