"""The demo's models: as different from each other as promised, and readable by plain tools."""

from pathlib import Path
from random import Random

import pytest
from transformers import AutoTokenizer

from inarch.data import Reader, read
from inarch.demo.models import SOURCES, TARGET, DemoModel, lessons, write_tokenizer
from inarch.demo.world import SKILLS, World, draw_task, make_world, to_chat
from inarch.io.models import new_model
from inarch.io.tokenizers import load_tokenizer
from inarch.records import Document, Message

MODELS = (*SOURCES, TARGET)
SEED = 5


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(SEED)


@pytest.fixture(scope="module")
def folders(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    for model in MODELS:
        write_tokenizer(model, world, Random(SEED), root / model.name)
    return {model.name: root / model.name for model in MODELS}


def _pieces(folder: Path, text: str) -> list[str]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return list(tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"]))


def test_vocabularies_have_the_promised_sizes(folders: dict[str, Path]) -> None:
    sizes = {name: load_tokenizer(folder).size for name, folder in folders.items()}
    assert sizes["facts"] == 900
    assert sizes["translator"] == 600
    assert 250 <= sizes["reckoner"] <= 356
    assert 950 <= sizes["target"] <= 1200


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_networks_fit_their_tokenizers(model: DemoModel, folders: dict[str, Path]) -> None:
    roles = load_tokenizer(folders[model.name]).roles
    network = new_model(model.config, 1000, seed=0)
    assert network.config.eos_token_id == roles["eos"] == roles["eot"]
    assert network.config.pad_token_id == roles["pad"] != roles["eos"]
    assert 550_000 < network.num_parameters() < 900_000


def test_each_tokenizer_splits_in_its_own_way(folders: dict[str, Path], world: World) -> None:
    place = next(iter(world.places))
    text = f" river of {place}, 13"
    assert _pieces(folders["facts"], text)[:3] == ["Ġriver", "Ġof", f"Ġ{place}"]
    assert _pieces(folders["translator"], text)[-2:] == ["1", "3"]  # digits one by one
    reckoner = _pieces(folders["reckoner"], text)
    assert reckoner[-1] == "▁13"  # a whole word
    assert _pieces(folders["reckoner"], " Qyx") == ["▁", "Q", "y", "x"]  # a word it never met


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_every_model_reads_every_skill_byte_for_byte(
    model: DemoModel, folders: dict[str, Path], world: World
) -> None:
    tokenizer = load_tokenizer(folders[model.name])
    tasks = [draw_task(world, skill, Random(i)) for i in range(40) for skill in SKILLS]
    documents = [
        Document(
            i, None, (Message("user", t.prompt), Message("assistant", t.answer)), "", b"", True
        )
        for i, t in enumerate(tasks)
    ]
    assert tokenizer.roles["eot"] == tokenizer.hf.convert_tokens_to_ids(model.marks.end)
    for row, task in zip(read(Reader(tokenizer, tokenizer), documents), tasks, strict=True):
        assert row.exact
        taught = row.ids[1:][row.supervised[:-1]]
        assert tokenizer.hf.decode(taught).strip() == task.answer + model.marks.end


def test_the_same_seed_gives_the_same_folder(world: World, tmp_path: Path) -> None:
    for model in MODELS:
        once, again = tmp_path / f"{model.name}-1", tmp_path / f"{model.name}-2"
        write_tokenizer(model, world, Random(3), once)
        write_tokenizer(model, world, Random(3), again)
        names = sorted(file.name for file in once.iterdir())
        assert names == sorted(file.name for file in again.iterdir())
        assert all((once / n).read_bytes() == (again / n).read_bytes() for n in names)


def test_lessons_follow_shares_and_noise(world: World) -> None:
    tasks = lessons(TARGET, world, 4000, Random(0))
    by_skill = {skill: [t for t in tasks if t.skill == skill] for skill in SKILLS}
    # Standard error of .58 of 4000: 0.008.
    assert len(by_skill["arith"]) / 4000 == pytest.approx(0.58, abs=0.035)
    assert len(by_skill["trans"]) / 4000 == pytest.approx(0.08, abs=0.02)
    asked = {p for p in world.places if any(p in t.prompt for t in by_skill["fact"])}
    assert asked == set(world.places)
    wrong = sum(
        piece != world.tolki[word]
        for t in by_skill["trans"]
        for piece, word in zip(t.pieces, [t.prompt.split()[i] for i in (3, 2, 4, 6)], strict=True)
    )
    # About 320 sentences of 4 pieces, three in ten wrong; standard error 0.013.
    assert wrong / (4 * len(by_skill["trans"])) == pytest.approx(0.3, abs=0.05)
    wrong = sum(
        piece != right
        for t in by_skill["fact"]
        for place in [next(p for p in world.places if p in t.prompt)]
        for piece, right in zip(t.pieces, world.places[place], strict=True)
    )
    # About 1360 of 3 pieces, two in ten wrong; standard error 0.006.
    assert wrong / (3 * len(by_skill["fact"])) == pytest.approx(0.2, abs=0.025)


def test_the_prompt_of_a_chat_is_the_beginning_of_the_chat(folders: dict[str, Path]) -> None:
    messages = to_chat(draw_task(make_world(1), "fact", Random(0)))["messages"]
    for folder in folders.values():
        tokenizer = AutoTokenizer.from_pretrained(folder)
        whole = tokenizer.apply_chat_template(messages, tokenize=False)
        opened = tokenizer.apply_chat_template(
            messages[:1], tokenize=False, add_generation_prompt=True
        )
        assert whole.startswith(opened + " ")
