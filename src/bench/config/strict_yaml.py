"""YAML for settings: any file is read as plain values, or refused with the line of the mistake.

PyYAML's safe loader runs no code, but accepts the same key twice, relies on Python's recursion, and builds a list of
2^26 members from 26 lines.
"""

from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode

_DEEPEST = 50
_LARGEST = 100_000  # values, each counted once per reference to it


class _Loader(yaml.SafeLoader):
    depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        if self.depth > _DEEPEST:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call] # of types-PyYAML
            raise ConstructorError(None, None, f"nested more than {_DEEPEST} deep", mark)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def get_single_node(self) -> Node | None:
        node = super().get_single_node()
        if node is not None:
            _measure(node, {})
        return node

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, ArithmeticError, LookupError, AttributeError, TypeError) as error:
            # The 99th of a month, `!!int abc`, `!!bool maybe`: PyYAML passes on whatever its constructors raise.
            tag = node.tag.rpartition(":")[2]
            reason = str(error).partition(";")[0] if isinstance(error, ValueError) else f"no value of the type '{tag}'"
            raise ConstructorError(None, None, reason, node.start_mark) from error


def parse_yaml(text: str) -> Any:
    """The value of a YAML text; a YAMLError holds the reason, and the line if there is one, why it cannot be read."""
    return yaml.load(text, _Loader)  # a SafeLoader


def _measure(node: Node, sizes: dict[int, int | None]) -> int:
    """The number of values a node stands for; refused where it holds itself, is too large, or names a key twice."""
    if id(node) in sizes:
        size = sizes[id(node)]
        if size is None:
            raise ConstructorError(None, None, "refers to itself", node.start_mark)
        return size
    sizes[id(node)] = None
    below: list[Node] = []
    if isinstance(node, MappingNode):
        _check_keys(node)
        below = [each for pair in node.value for each in pair]
    elif isinstance(node, CollectionNode):
        below = node.value
    size = 1 + sum(_measure(each, sizes) for each in below)
    if size > _LARGEST:
        raise ConstructorError(None, None, f"stands for more than {_LARGEST} values", node.start_mark)
    sizes[id(node)] = size
    return size


def _check_keys(node: MappingNode) -> None:
    seen = set()
    for key, _ in node.value:
        if isinstance(key, ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
            if (key.tag, key.value) in seen:
                raise ConstructorError(None, None, f"the key '{key.value}' stands there twice", key.start_mark)
            seen.add((key.tag, key.value))
