"""An error about a stored value reaches the log and Flower: it never carries the value."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

import onelane
import onelane_sandbox
import onelane_worker
from onelane.errors import OnelaneError

APPS = {"__main__", "app", "celery_app"}
"""Importing these starts things; they hold no models."""
SECRET = "watson-of-baker-street"


def modules() -> Iterator[ModuleType]:
    for package in (onelane, onelane_worker, onelane_sandbox):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.name.rpartition(".")[2] not in APPS:
                yield importlib.import_module(found.name)


def models() -> dict[str, Any]:
    """Every model and every adapter of ours, by name."""
    found: dict[str, Any] = {}
    for module in modules():
        for name, value in vars(module).items():
            is_model = isinstance(value, type) and issubclass(value, BaseModel)
            if is_model and value.__module__ == module.__name__:
                found[f"{module.__name__}.{name}"] = value.model_validate_json
            if isinstance(value, TypeAdapter):
                found[f"{module.__name__}.{name}"] = value.validate_json
    return found


def is_of_a_model(check: Any) -> bool:
    return isinstance(check.__self__, type)


MODELS = models()


def test_the_walk_finds_them() -> None:
    assert {"onelane.results.Outcome", "onelane.intents.LeadCapture"} < MODELS.keys()


@pytest.mark.parametrize("name", sorted(MODELS))
@pytest.mark.parametrize("text", [f'"{SECRET}"', SECRET, f'[["{SECRET}"]]'])
def test_no_value_stands_in_the_error_of_a_model(name: str, text: str) -> None:
    with pytest.raises((ValidationError, OnelaneError)) as refused:
        MODELS[name](text)
    assert SECRET not in f"{refused.value} {refused.value!r}"


@pytest.mark.parametrize("name", sorted(name for name, check in MODELS.items() if is_of_a_model(check)))
def test_no_value_stands_in_the_error_of_a_field(name: str) -> None:
    model = MODELS[name].__self__
    for field, about in model.model_fields.items():
        fields = {field: {"of": [SECRET]}, about.alias or field: {"of": [SECRET]}}
        told = ""
        try:
            model(**fields)  # a field that takes anything says nothing
        except (ValidationError, OnelaneError) as error:
            told = f"{error} {error!r}"
        assert SECRET not in told
