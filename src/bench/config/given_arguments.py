"""Objects that remember the arguments of their constructor, so that they can be built again with the same settings."""

from collections.abc import Mapping
from inspect import signature
from typing import Any, Self


class GivenArguments:
    """The base of classes whose instances say what they were built with."""

    _given: tuple[tuple[Any, ...], Mapping[str, Any]] = ((), {})

    def __new__(cls, *arguments: Any, **keywords: Any) -> Self:
        """Note the arguments before the constructor sees them."""
        made = super().__new__(cls)
        object.__setattr__(made, "_given", (arguments, keywords))  # a network is not ready for attributes yet
        return made

    def given_arguments(self) -> dict[str, Any]:
        """The arguments of the constructor by name, without those that were left to their defaults."""
        arguments, keywords = self._given
        bound = signature(type(self)).bind(*arguments, **keywords)
        found = dict(bound.arguments)
        for parameter in bound.signature.parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                found |= found.pop(parameter.name, {})
        return found
