"""Load a model and its tokenizer, from a folder or from the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.utils import logging

from bridge.errors import ConfigError, ModelError
from bridge.models.anatomy import Anatomy, anatomy
from bridge.models.encoding import Text, encode
from bridge.models.fingerprints import fingerprint, origin
from bridge.models.kinds import KINDS, Kind, kind_of

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "auto": "auto"}


@dataclass
class LoadedModel:
    """A model ready to be read from and, where its kind has a head, to put states into."""

    name: str
    revision: str | None
    dtype: torch.dtype
    model: transformers.PreTrainedModel
    tokenizer: transformers.PreTrainedTokenizerBase
    anatomy: Anatomy
    fingerprint: str
    device: torch.device
    kind: Kind = KINDS["causal"]

    def encode(self, texts: Sequence[Text]) -> list[list[int]]:
        """Token ids of each text, with the special tokens that the tokenizer adds; token ids are returned unchanged.

        An end-of-text token is kept only for a kind of model that does not continue texts.
        """
        return encode(self.tokenizer, texts, self.kind.ends_texts)


def load(
    name: str,
    revision: str | None = None,
    dtype: str = "float32",
    device: str = "auto",
    device_map: str | dict[str, Any] | None = None,
    attn_implementation: str | None = None,
    trust_remote_code: bool = False,
    kind: str = "causal",
) -> LoadedModel:
    """Load a model in evaluation mode, from safetensors weights only.

    Args:
        name: a local folder in the `save_pretrained` format, or a hub id.
        revision: branch, tag or commit on the hub; not for local folders.
        dtype: float32, bfloat16, float16, or auto for the dtype of the stored weights.
        device: auto (the first GPU where there is one), cpu, cuda, or cuda:N; not used with `device_map`.
        device_map: how accelerate spreads the model over devices, e.g. "auto".
        attn_implementation: eager, sdpa, flash_attention_2, ...; None leaves the choice to transformers.
        trust_remote_code: run code that comes with the model.
        kind: one of `bridge.models.kinds.KINDS`.

    Raises:
        ConfigError: dtype, kind or device is unknown, or the device does not exist.
        ModelError: the model or its revision is not found, it has no safetensors weights, or is not of this kind.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"dtype={dtype!r} is unknown; wanted one of {', '.join(DTYPES)}: change it")
    what = kind_of(kind)
    if what.module:
        import_module(what.module)
    where = torch_device(device) if device_map is None else None
    identity = fingerprint(name, revision)
    if Path(name).expanduser().is_dir() and not any(Path(name).expanduser().glob("*.safetensors")):
        raise ModelError(
            f"{name} is a model folder without weights; wanted a *.safetensors file in it: save the model there with "
            "save_pretrained, or give another folder"
        )
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code, **origin(name, revision)}
    path = options.pop("path")
    try:
        config = transformers.AutoConfig.from_pretrained(path, **options)
        with _bars_only_where_it_takes_long(path):
            model, report = getattr(transformers, what.loader).from_pretrained(
                path,
                config=config,
                dtype=DTYPES[dtype],
                use_safetensors=True,
                device_map=device_map,
                attn_implementation=attn_implementation,
                output_loading_info=True,
                **options,
            )
    except Exception as error:
        raise ModelError(
            f"{name} could not be loaded as {what.called} ({_one_line(error)}); wanted {what.called}: check the "
            "folder, or give another model"
        ) from error
    # transformers would fill missing weights with random numbers
    absent = sorted({*report["missing_keys"], *(str(key) for key in report["mismatched_keys"])})
    absent = [key for key in absent if not key.startswith(what.unused)]
    if absent:
        raise ModelError(
            f"{name} lacks {len(absent)} of the weights of a {type(model).__name__} "
            f"({absent[0]}{', ...' if len(absent) > 1 else ''}); wanted all of them: give a folder or revision whose "
            "weights fit its config"
        )
    if where is not None:
        model = model.to(where)
    model.eval().requires_grad_(False)
    return LoadedModel(
        name=name,
        revision=revision,
        dtype=model.dtype,
        model=model,
        tokenizer=load_tokenizer(name, revision, trust_remote_code),
        anatomy=anatomy(model, what),
        fingerprint=identity,
        device=model.device,
        kind=what,
    )


def load_tokenizer(
    name: str, revision: str | None = None, trust_remote_code: bool = False
) -> transformers.PreTrainedTokenizerBase:
    """Load a tokenizer alone, without the weights.

    Raises:
        ModelError: there is no such folder or hub id, or no tokenizer in it.
    """
    options = origin(name, revision)
    try:
        return transformers.AutoTokenizer.from_pretrained(
            options.pop("path"), trust_remote_code=trust_remote_code, **options
        )
    except Exception as error:
        raise ModelError(
            f"{name} has no tokenizer that can be loaded ({_one_line(error)}); wanted one: save the tokenizer there, "
            "or give another model"
        ) from error


@contextmanager
def _bars_only_where_it_takes_long(path: str) -> Iterator[None]:
    """Show progress bars only for large models: without this, loading a megabyte draws two."""
    weights = [file.stat().st_size for file in Path(path).glob("*.safetensors")]
    quiet = logging.is_progress_bar_enabled() and bool(weights) and sum(weights) < 1e9
    if quiet:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if quiet:
            logging.enable_progress_bar()


def torch_device(device: str) -> torch.device:
    """The device of a name; auto is the first GPU where there is one.

    Raises:
        ConfigError: it is unknown or does not exist.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(
            f"device={device!r} is unknown; wanted a device of torch: give auto, cpu, cuda or cuda:N"
        ) from error
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device={device!r} was asked for and torch sees {torch.cuda.device_count()} GPUs; wanted a device that "
            "exists: give device=cpu or auto"
        )
    return wanted


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}{'...' if len(text) > 300 else ''}"
