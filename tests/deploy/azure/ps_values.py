"""PowerShell's values and how it turns them into one another, for powershell.py."""

import re


class Unsupported(Exception):
    """Something that this reading of PowerShell does not know."""


class Failure(Exception):
    """What `throw`, and a cmdlet that fails, raise."""


class Return(Exception):
    def __init__(self, values):
        super().__init__()
        self.values = values


class Table:
    """A hash table, or an object made of JSON: keys in order, found without regard to case."""

    def __init__(self, items=()):
        self.items = {}
        for key, value in items:
            self[key] = value

    def __getitem__(self, key):
        return self.items.get(str(key).lower(), (key, None))[1]

    def __setitem__(self, key, value):
        folded = str(key).lower()
        self.items[folded] = (self.items.get(folded, (key,))[0], value)

    def __contains__(self, key):
        return str(key).lower() in self.items

    def keys(self):
        return [key for key, _ in self.items.values()]


class Secure:
    """A SecureString."""

    def __init__(self, plain):
        self.plain = plain

    def __str__(self):
        return "System.Security.SecureString"


class Block:
    """A script block."""

    def __init__(self, node):
        self.node = node


class Native:
    """A .NET object: its members by lower-case name."""

    def __init__(self, **members):
        self.members = members


class Type(str):
    """A type literal's name, in lower case."""


NOTHING = object()  # what a call without a value gives, unlike $null


def as_list(value):
    if value is None or value is NOTHING:
        return []
    return value if isinstance(value, list) else [value]


def as_value(values):
    """What a pipeline's output is when it is assigned."""
    return None if not values else values[0] if len(values) == 1 else values


def as_text(value):
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, list):
        return " ".join(as_text(each) for each in value)
    if isinstance(value, (str, int, Secure)):
        return str(value)
    raise Unsupported(f"the text of {value!r}")


def is_true(value):
    if isinstance(value, list):
        return bool(value) and (len(value) > 1 or is_true(value[0]))
    return value not in (None, False, 0, "")


def equal(left, right, exact=False):
    """-eq between single values: the right side takes the type of the left."""
    if left is None or right is None:
        return left is right
    if isinstance(left, bool):
        return left == is_true(right)
    if isinstance(left, int):
        return left == convert("int", right)
    if isinstance(left, str):
        right = as_text(right)
        return left == right if exact else left.lower() == right.lower()
    raise Unsupported(f"comparison of {left!r}")


def convert(kind, value):
    """A value as a parameter or cast of that type takes it."""
    if kind in ("object", None):
        return value
    if kind == "string":
        return as_text(value)
    if kind == "int":
        try:
            return int(as_text(value) or 0)
        except ValueError:
            raise Failure(f'Cannot convert value "{as_text(value)}" to type "System.Int32".') from None
    if kind == "bool":
        if isinstance(value, str):
            raise Failure('Cannot convert value "System.String" to type "System.Boolean".')
        return is_true(value)
    if kind == "switch":
        return is_true(value)
    if kind == "string[]":
        return [as_text(each) for each in as_list(value)]
    if kind == "byte[]":
        return bytes(value) if isinstance(value, (bytes, list)) else bad(f"bytes of {value!r}")
    if kind == "hashtable" and isinstance(value, Table):
        return value
    if kind == "scriptblock" and isinstance(value, Block):
        return value
    raise Unsupported(f"conversion of {value!r} to {kind}")


def bad(what):
    raise Unsupported(what)


def regex(pattern):
    if re.search(r"\\[pPGkK]|\(\?[^:]", pattern):
        raise Unsupported(f"regular expression {pattern}")
    return pattern.replace(r"\z", r"\Z")


def wildcard(pattern):
    if "[" in pattern or "`" in pattern:
        raise Unsupported(f"wildcard {pattern}")
    return re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".") + r"\Z"


def from_json(value):
    if isinstance(value, dict):
        return Table((key, from_json(each)) for key, each in value.items())
    return [from_json(each) for each in value] if isinstance(value, list) else value
