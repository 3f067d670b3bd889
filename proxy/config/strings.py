"""The strings under the fields of a class, which are its manual."""

from __future__ import annotations

import ast
import inspect
import textwrap
from itertools import pairwise


def strings_under_fields(cls: type) -> dict[str, str]:
    """What stands under each field, by the field's name, also in the classes that `cls` stands on."""
    found: dict[str, str] = {}
    for each in reversed(cls.__mro__[:-1]):
        tree = ast.parse(textwrap.dedent(inspect.getsource(each))).body[0]
        assert isinstance(tree, ast.ClassDef)
        for field, below in pairwise(tree.body):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = inspect.cleandoc(text)
    return found
