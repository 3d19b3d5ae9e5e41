"""Base classes and types shared by all tables inside `Settings`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from jobclaim.specs.refusals import refuse_unknown

Seconds = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
TableName = Annotated[str, Field(min_length=3, max_length=255, pattern=r"^[A-Za-z0-9_.-]+$")]


class Spec(BaseModel):
    """A table inside `Settings`: frozen; an error about an unknown field suggests the closest one."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_unknown_fields(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            refuse_unknown(values, cls.model_fields, cls.__name__)
        return values
