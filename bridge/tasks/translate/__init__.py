"""Translate: a hidden state is carried over and scored by the token that the target decodes from it."""

from bridge.tasks.translate.task import Translate

TASK = Translate()
