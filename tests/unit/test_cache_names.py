"""The key-value cache under both of the names that transformers gives it."""

from __future__ import annotations

import functools

import pytest
from transformers.modeling_outputs import BaseModelOutputWithPast

from ivcprune.pruning.caches.names import cache_parameter, given_cache, with_cache


def new_model(hidden, cache=None, use_cache=None):
    """As models are from transformers 5.24 on."""


def old_model(hidden, past_key_values=None, use_cache=None):
    """As they were before, and as models of third parties may stay."""


@functools.wraps(old_model)
def decorated(*args, **kwargs):
    """As transformers decorates `forward`."""


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (new_model, "cache"),
        (old_model, "past_key_values"),
        (decorated, "past_key_values"),
        (lambda **kwargs: None, "cache"),
    ],
)
def test_a_model_is_given_the_cache_by_its_own_name(model, name):
    assert cache_parameter(model) == name
    assert with_cache({"use_cache": True}, "new", model) == {"use_cache": True, name: "new"}


def test_a_cache_takes_the_place_of_one_by_the_other_name():
    given = {"past_key_values": None, "cache": None, "use_cache": True}
    assert with_cache(given, "new", old_model) == {"past_key_values": "new", "use_cache": True}


@pytest.mark.parametrize(
    ("arguments", "cache"),
    [
        ({"cache": "it"}, "it"),
        ({"past_key_values": "it"}, "it"),
        ({"cache": None, "past_key_values": "it"}, "it"),
        ({"cache": None}, None),
        ({}, None),
    ],
)
def test_a_cache_is_found_by_either_name(arguments, cache):
    assert given_cache(arguments) == cache


def test_the_cache_of_an_output():
    assert given_cache(BaseModelOutputWithPast(past_key_values="it")) == "it"
    assert given_cache(BaseModelOutputWithPast()) is None
