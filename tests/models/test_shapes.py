"""Blocks and width of a model from its config.json."""

import json

import pytest
from families import build

from bridge.errors import ModelError
from bridge.models.shapes import shape

ABSENT = "transformers is not wanted here"


@pytest.fixture
def folder(tmp_path):
    build("llama").config.save_pretrained(tmp_path)
    return tmp_path


def change(folder, **values):
    path = folder / "config.json"
    config = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def test_a_config_that_says_both_is_read_without_transformers(folder, monkeypatch):
    config = build("llama").config
    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", lambda *a, **k: pytest.fail(ABSENT))
    assert shape(str(folder)) == (config.num_hidden_layers, config.hidden_size)


def test_a_config_that_leaves_its_defaults_out_has_those_of_transformers(folder):
    change(folder, num_hidden_layers=None)
    assert shape(str(folder)) == (32, build("llama").config.hidden_size)


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox"])
def test_each_familys_own_words_are_understood(tmp_path, family):
    config = build(family).config
    config.save_pretrained(tmp_path)
    assert shape(str(tmp_path)) == (config.num_hidden_layers, config.hidden_size)


def test_a_config_that_cannot_be_read_is_refused_in_one_line(folder):
    (folder / "config.json").write_text("{")
    with pytest.raises(
        ModelError,
        match=r"config.json cannot be read \(.*\); wanted a readable config.json: save the model there again$",
    ):
        shape(str(folder))
    change_to = {"model_type": "nothing"}
    (folder / "config.json").write_text(json.dumps(change_to))
    with pytest.raises(ModelError, match="does not tell its layers and width"):
        shape(str(folder))
    with pytest.raises(ModelError, match="neither a local folder nor reachable"):
        shape("nobody/nothing")
