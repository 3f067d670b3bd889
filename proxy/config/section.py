"""What all sections of the file have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A mapping of the file. Python code uses the names of the fields; the file may only use the keys
    (`reading.py`)."""

    # What stands under a field is its description. Pydantic is not told to look for it as each class is made: it takes
    # a fifth of the time in which a daemon starts, and `schema.json_schema` alone wants to know.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    if not TYPE_CHECKING:

        def __init__(self, **values: Any) -> None:
            keys = {name: field.validation_alias or name for name, field in type(self).model_fields.items()}
            super().__init__(**{keys.get(name, name): value for name, value in values.items()})

        # Pydantic calls an __init__ for values of a file as well, unless it bears this mark. (`validate_by_name`, which
        # does all this, comes with pydantic 2.11, and Debian 13 has 2.10.)
        __init__.__pydantic_base_init__ = True
