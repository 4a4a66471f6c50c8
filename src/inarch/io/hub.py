"""Where a model is: a folder here, or an id on the hub, fetched without code and pickles."""

import re
from pathlib import Path

from inarch.errors import WeightsError
from inarch.io.sidecar import SIDE_FILES

_ID = re.compile(r"(?P<id>[\w.-]+(/[\w.-]+)?)(@(?P<revision>[\w./-]+))?")


def find_folder(path_or_id: str | Path) -> Path:
    """Return a folder or file as it is, or the folder into which an id of the hub was fetched.

    Only files beside the config are fetched: safetensors, JSON and tokenizers. What is in the
    hub's cache is not fetched again.

    Args:
        path_or_id: A path, or ``org/name``, or ``org/name@revision``.

    Raises:
        WeightsError: There is no such folder, and the hub has no such model or is out of reach.
    """
    path = Path(path_or_id).expanduser()
    if path.exists():
        return path
    named = _ID.fullmatch(str(path_or_id))
    if named is None or named["id"].startswith((".", "-")):
        raise WeightsError(f"there is no folder {path}; expected one with a model in it")
    # Costs half a second, and is not needed for folders.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        fetched = snapshot_download(
            named["id"],
            revision=named["revision"],
            allow_patterns=[
                *("*.safetensors", "*.safetensors.index.json", "adapter_config.json"),
                *SIDE_FILES,
            ],
            ignore_patterns=["*/*", "consolidated*"],
        )
    except LocalEntryNotFoundError as error:
        raise WeightsError(
            f"found no folder {path}, and the hub cannot be asked for a model of that name (no "
            "network, or HF_HUB_OFFLINE is set); expected a folder, or an id fetched before"
        ) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise WeightsError(
            f"found no folder {path}, and the hub gives no model of that name "
            f"({str(error).strip().splitlines()[0]}); check the spelling, or log in if it is gated"
        ) from error
    return Path(fetched)
