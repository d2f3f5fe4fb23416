"""Values written as Python literals, read without evaluating anything."""

import ast

LONGEST = 10_000
"""Characters of a text, and numbers and strings of its value."""


def read_literal(text: str):
    """The value of a literal: numbers, strings, True, False, None, and tuples, lists and dictionaries of them.

    Lists and tuples may be added, and multiplied by a whole number: `"[(512, 3)] * 20"` is a default of fairseq's.
    Takes the place of `eval` where fairseq evaluates settings, which may come out of a file.

    Raises:
        TypeError: not a string, as `eval` raises it.
        ValueError: anything else than a literal, or one of more than `LONGEST` characters or parts.
    """
    if not isinstance(text, str):
        raise TypeError(f"a literal is a string, not {type(text).__name__}")
    shown = text if len(text) <= 60 else text[:57] + "..."
    if len(text) > LONGEST:
        raise ValueError(f"{shown!r}: a value of {len(text)} characters")
    try:
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        raise ValueError(f"{shown!r} is no number, word in quotes, True, False, None, or list of them") from None


def _value(node: ast.expr):
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mult):
        return _combined(_value(node.left), node.op, _value(node.right))
    if isinstance(node, ast.List | ast.Tuple):
        return (list if isinstance(node, ast.List) else tuple)(_value(element) for element in node.elts)
    if isinstance(node, ast.Dict) and None not in node.keys:
        return dict(zip(map(_value, node.keys), map(_value, node.values), strict=True))
    return ast.literal_eval(node)


def _combined(left, operator: ast.operator, right):
    """left + right of two lists or two tuples, or left * right of one and a whole number."""
    if isinstance(operator, ast.Add):
        if type(left) is not type(right) or not isinstance(left, list | tuple):
            raise ValueError
        return left + right
    if isinstance(left, int):
        left, right = right, left
    if not isinstance(left, list | tuple) or type(right) is not int or _parts(left) * right > LONGEST:
        raise ValueError
    return left * right


def _parts(value) -> int:
    """How many lists, numbers and strings a value has."""
    return 1 + sum(map(_parts, value)) if isinstance(value, list | tuple) else 1
