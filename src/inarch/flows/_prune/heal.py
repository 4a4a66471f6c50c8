"""Training after a cut: the smaller model learns on, with the whole one as its teacher."""

from pathlib import Path

from inarch.data.corpus import DataSettings
from inarch.flows import fuse
from inarch.flows.recipe import FuseRun, ModelSettings
from inarch.fuse.settings import FuseSettings
from inarch.match.vocabulary import MatchSettings
from inarch.settings import Settings
from inarch.teach.settings import TeachSettings
from inarch.train.settings import TrainSettings

CUT, WHOLE = "cut", "whole"
TAUGHT, PLAIN = "taught", "plain"


class HealSettings(Settings):
    """A fuse recipe whose target is the cut model and whose source is the whole one."""

    data: DataSettings
    """What is trained on. Not the text on which the result is judged."""
    teach: TeachSettings = TeachSettings()
    match: MatchSettings = MatchSettings()
    fuse: FuseSettings = FuseSettings(lambda_=0.5, include_target=False)
    """By default half plain training, half what the whole model says."""
    train: TrainSettings = TrainSettings()
    """All weights, or an adapter: ``lora``."""
    plain: bool = False
    """Train a second time without the teacher, to compare."""


def runs(settings: HealSettings, cut: Path, whole: str, tokenizer: str) -> dict[str, FuseRun]:
    """Return the trainings, by the name of their folder.

    Args:
        settings: How.
        cut: Folder of the cut model, with a tokenizer.
        whole: The model before the cut.
        tokenizer: Of both.
    """
    target = ModelSettings(path=str(cut), name=CUT)
    teacher = ModelSettings(path=whole, name=WHOLE, tokenizer=tokenizer)
    parts = {name: getattr(settings, name) for name in ("data", "teach", "match", "train")}
    taught = FuseRun(target=target, sources=(teacher,), fuse=settings.fuse, **parts)
    found = {TAUGHT: taught}
    if settings.plain:
        found[PLAIN] = FuseRun(target=target, **parts)
    return found


def heal(
    settings: HealSettings, cut: Path, whole: str, tokenizer: str, out: Path
) -> dict[str, Path]:
    """Train, and return the folders of the models by what they are: ``taught`` and ``plain``."""
    made = {}
    for name, run in runs(settings, cut, whole, tokenizer).items():
        fuse.run(run, out / name)
        made[name] = out / name / "model"
    return made
