"""Chat templates: a model's, the most common one, one known by name, or one spelled out."""

import difflib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from inarch.errors import SettingsError, WeightsError
from inarch.merge._vocabulary import read_beside

_ANSWER = "{% if add_generation_prompt %}"
_TURN = "{% for message in messages %}"

TEMPLATES = {
    "alpaca": (
        _TURN + r"{% if message.role == 'system' %}{{ message.content | trim + '\n\n' }}"
        "{% elif message.role == 'user' %}"
        r"{{ '### Instruction:\n' + message.content | trim + '\n\n' }}"
        r"{% else %}{{ '### Response:\n' + message.content | trim + '\n\n' }}{% endif %}"
        "{% endfor %}" + _ANSWER + r"{{ '### Response:\n' }}{% endif %}"
    ),
    "chatml": (
        _TURN + r"{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
        "{% endfor %}" + _ANSWER + r"{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "exaone": (
        r"{% if messages[0].role != 'system' %}{{ '[|system|][|endofturn|]\n' }}{% endif %}"
        + _TURN
        + "{{ '[|' + message.role + '|]' + message.content }}"
        r"{{ '\n' if message.role == 'user' else '[|endofturn|]\n' }}"
        "{% endfor %}" + _ANSWER + "{{ '[|assistant|]' }}{% endif %}"
    ),
    "llama3": (
        "{{ bos_token }}"
        + _TURN
        + r"{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' }}"
        "{{ message.content | trim + '<|eot_id|>' }}"
        "{% endfor %}" + _ANSWER + r"{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
        "{% endif %}"
    ),
    "mistral": (
        "{{ bos_token }}{% set ns = namespace(system='') %}"
        + _TURN
        + r"{% if message.role == 'system' %}{% set ns.system = message.content + '\n\n' %}"
        "{% elif message.role == 'user' %}"
        "{{ ' [INST] ' + ns.system + message.content + ' [/INST]' }}{% set ns.system = '' %}"
        "{% else %}{{ ' ' + message.content + eos_token }}{% endif %}"
        "{% endfor %}"
    ),
}
"""Templates known by name. With mistral, a system message opens the next one of the user."""


def choose_template(wish: str, folders: Sequence[Path]) -> str | None:
    """Return the text of a chat template; None where ``auto`` finds none.

    Args:
        wish: ``auto`` for the most common one among the models, of equals that of the first; a
            name; or the template itself.
        folders: Of the models' tokenizers, in the user's order.

    Raises:
        SettingsError: It is no name that is known, and no template that Jinja reads.
        WeightsError: A model's files cannot be read.
    """
    if wish == "auto":
        found = Counter(text for folder in folders if (text := read_template(folder)))
        return found.most_common(1)[0][0] if found else None
    if wish in TEMPLATES:
        return TEMPLATES[wish]
    if "{" not in wish:
        meant = difflib.get_close_matches(wish, [*TEMPLATES, "auto"], n=1)
        raise SettingsError(
            f"chat_template: found {wish!r}, expected auto, one of {', '.join(TEMPLATES)}, or a "
            f"Jinja template{f'; did you mean {meant[0]}?' if meant else ''}"
        )
    import jinja2

    try:
        jinja2.Environment(extensions=["jinja2.ext.loopcontrols"]).parse(wish)
    except jinja2.TemplateSyntaxError as error:
        raise SettingsError(
            f"chat_template: this is no Jinja template: line {error.lineno}: {error.message}"
        ) from None
    return wish


def read_template(folder: Path) -> str | None:
    """Return the default chat template of a model; None where it has none.

    Raises:
        WeightsError: Its files cannot be read.
    """
    file = folder / "chat_template.jinja"
    if file.is_file():
        try:
            return file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise WeightsError(f"{file} is not UTF-8; fetch or write this file again") from None
    found = read_beside(folder, "tokenizer_config.json").get("chat_template")
    if isinstance(found, list):  # older files name several
        found = next((one["template"] for one in found if one.get("name") == "default"), None)
    return found
