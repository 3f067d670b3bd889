"""The strings under the fields of a class, which are its manual."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping
from functools import cache
from itertools import pairwise


def strings_under_fields(cls: type) -> dict[str, str]:
    """What stands under each field, by the field's name, also in the classes that `cls` stands on."""
    found: dict[str, str] = {}
    for each in reversed(cls.__mro__[:-1]):
        found.update(_strings_of(each))
    return found


@cache
def _strings_of(cls: type) -> Mapping[str, str]:
    """The same of one class alone. All settings stand on one large class of pydantic, which is read once."""
    found: dict[str, str] = {}
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(tree, ast.ClassDef)
    for field, below in pairwise(tree.body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = inspect.cleandoc(text)
    return found
