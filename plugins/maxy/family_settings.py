"""The settings of a family: one Airflow variable, a JSON object, checked by a model of the family's."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from maxy._json_object import read_json_object
from maxy.text import shown_value

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class FamilySettings(BaseModel):
    """What a family's model derives from: nothing but what it declares, each of its own type, no NaN and no infinity.

    What is to stand in the docs of a field is its ``description``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Model = TypeVar("Model", bound=FamilySettings)


def parse_settings(model: type[Model], text: str, *, where: str) -> Model:
    """Read a family's settings.

    :param model: the family's.
    :param text: a JSON object; nothing but blanks is an empty one.
    :param where: what the text is called, for errors.
    :raises ValueError: naming every setting that is wrong.
    """
    given = read_json_object(text.strip() or "{}", where=where)
    try:
        return model.model_validate(given)
    except ValidationError as error:
        problems = "; ".join(_words(one, where, model) for one in error.errors(include_url=False))
        raise ValueError(problems) from None


def _words(problem: ErrorDetails, where: str, model: type[FamilySettings]) -> str:
    name = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        return f"{where}: there is no setting {name}; there are {', '.join(sorted(model.model_fields))}"
    message = problem["msg"]
    return f"{where}.{name}: {shown_value(problem['input'])}: {message[:1].lower()}{message[1:]}"


def settings_table(model: type[FamilySettings]) -> str:
    """Return a table of a family's settings, Markdown."""
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        default = model.model_construct().model_dump_json(include={name}).partition(":")[2].removesuffix("}")
        lines.append(f"| `{name}` | `{default}` | {field.description} |")
    return "\n".join(lines)
