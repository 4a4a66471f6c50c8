"""The plain mean of a recipe's models: what every cleverer merge has to beat."""

from typing import Any

from inarch.merge import MergeConfig
from inarch.settings import to_dict, validate


def plain_mean(config: MergeConfig) -> MergeConfig:
    """Return the recipe of the mean of the models, all with the weight 1.

    Slices, tokenizer and formats are those of `config`. The base takes part only where there would
    be a single model without it, as in slerp. A slice of one source is a copy.
    """
    data: dict[str, Any] = to_dict(config)
    base = None if config.merge_method == "passthrough" else data.get("base_model")
    parts = [data, *(data.get("modules") or {}).values()]
    for part in parts:
        part["parameters"] = None
        if part.get("models"):
            part["models"] = _alike(part["models"], base)
        for entry in part.get("slices") or ():
            sources = _alike(entry["sources"], entry.get("base_model") or base)
            entry |= {"parameters": None, "base_model": None, "sources": sources}
    data["merge_method"] = "linear"
    return validate(MergeConfig, data, "the plain mean")


def _alike(entries: list[dict[str, Any]], base: object) -> list[dict[str, Any]]:
    """Return the models, each with the weight 1; the base among them only beside a single one.

    A weight for all of the recipe would be the base's, too, and linear would take it in.
    """
    plain = [entry | {"parameters": {"weight": 1.0}} for entry in entries]
    others = [entry for entry in plain if entry["model"] != base]
    if base is None or not others:
        return plain
    return others if len(others) > 1 else [*others, others[0] | {"model": base}]
