"""The choice of a method in a recipe: its name, and its own settings beside it."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from inarch.settings import Settings, nearest, validate


class MethodChoice(Settings):
    """A method and its settings, ``{name: wrpo, beta: 0.1}``. A bare string is its name."""

    short = "name"
    table: ClassVar[Mapping[str, Any]]
    """The area's METHODS; each value tells its class of ``settings``."""

    name: str
    """One of the methods under docs/methods."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Those of the method; see its card."""

    @model_validator(mode="before")
    @classmethod
    def _settings_beside(cls, value: Any) -> Any:
        if isinstance(value, dict) and "settings" not in value:
            own = {key: each for key, each in value.items() if key != "name"}
            return {"settings": own} | ({"name": value["name"]} if "name" in value else {})
        return value

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.name not in self.table:
            raise ValueError(
                f"found the method {self.name!r}, expected one of {', '.join(self.table)}"
                f"{nearest(self.name, [*self.table])}"
            )
        self.own()
        return self

    def own(self) -> Any:
        """Return the settings of the method."""
        return validate(self.table[self.name].settings, self.settings, f"method {self.name}")
