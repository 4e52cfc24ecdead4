"""Groups of options: a command takes an object, its user sees an option for each field of it.

Typer wants a parameter for each option, so a command of twenty has a signature of two pages. Here
the options that belong together are a frozen dataclass, which may have a panel of its own in
`--help`, and the command takes that.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, fields
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, ClassVar, get_args, get_type_hints

from tritonclip_cli.values import guarded


@dataclass(frozen=True)
class Group:
    """Base of all groups. Each field is an option, annotated as Typer wants it, with a default."""

    panel: ClassVar[str | None] = None

    def __init_subclass__(cls, panel: str | None = None) -> None:
        cls.panel = panel


def flat(command: Callable[..., None]) -> Callable[..., None]:
    """`command` as Typer takes it, with the fields of its groups in place of each group.

    Each option is given the checks of its type.
    """
    hints = get_type_hints(command, include_extras=True)
    groups = {
        name: hint
        for name, hint in hints.items()
        if isinstance(hint, type) and issubclass(hint, Group)
    }
    parameters: list[Parameter] = []
    for name, parameter in signature(command).parameters.items():
        if name in groups:
            parameters += _options(groups[name])
        else:
            parameters.append(_keyword(name, hints[name], parameter.default))

    @functools.wraps(command)
    def taken_apart(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        command(**given)

    taken_apart.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    taken_apart.__annotations__ = {p.name: p.annotation for p in parameters}
    return taken_apart


def _options(group: type[Group]) -> Iterator[Parameter]:
    hints = get_type_hints(group, include_extras=True)
    for field in fields(group):
        kind, option = get_args(hints[field.name])
        if group.panel:
            option = copy(option)
            option.rich_help_panel = group.panel
        yield _keyword(field.name, Annotated[kind, option], field.default)


def _keyword(name: str, annotation: object, default: object) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, annotation=guarded(annotation), default=default)
