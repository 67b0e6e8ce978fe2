"""Configurations as plain tables, and back with every type checked: files and checkpoints may come from strangers."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, Literal

from voco_lite.config.parts import require


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, tuple) else value


def build(annotation: Any, value: Any, where: str) -> Any:
    """A value of the annotated type from its plain form."""
    if dataclasses.is_dataclass(annotation):
        require(
            isinstance(value, dict),
            f"{where} must be a table of fields, got {value!r}. Compare with PretrainConfig().to_dict().",
        )
        hints = typing.get_type_hints(annotation)
        unknown = set(value) - set(hints)
        require(not unknown, f"{where} has unknown fields {sorted(unknown)}. Known: {sorted(hints)}.")
        kind = typing.cast(type, annotation)
        return kind(**{name: build(hints[name], item, f"{where}.{name}") for name, item in value.items()})
    origin, options = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in options:
            return None
        kinds = [option for option in options if option is not type(None)]
        listed = isinstance(value, list | tuple)
        fitting = [kind for kind in kinds if (typing.get_origin(kind) is tuple) == listed]
        return build([*fitting, *kinds][0], value, where)
    if origin is tuple and options[-1] is Ellipsis:
        require(isinstance(value, list | tuple), f"{where} must be a list, got {value!r}. Write it in brackets.")
        return tuple(build(options[0], item, where) for item in value)
    if origin is tuple:
        fits = isinstance(value, list | tuple) and len(value) == len(options)
        require(fits, f"{where} must be {len(options)} numbers, got {value!r}. Write them as a list.")
        return tuple(build(option, item, where) for option, item in zip(options, value, strict=True))
    if origin is Literal:
        require(value in options, f"{where} must be one of {list(options)}, got {value!r}.")
        return value
    fits = isinstance(value, annotation) and not (annotation is not bool and isinstance(value, bool))
    if annotation is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    require(fits, f"{where} must be {annotation.__name__}, got {value!r} ({type(value).__name__}).")
    return value
