"""MT-Bench, judged live: both turns of 80 dialogues are rated from 1 to 10.

Source:  lm-sys/FastChat at 0e6d3e4, fastchat/llm_judge, ``gen_judgment.py``, mode single.
Differs: a question that is not answered in full is not judged, where FastChat judges ``$ERROR$``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from inarch import __version__
from inarch.errors import DataError
from inarch.evaluate.judges.answers import FOLDER, NO_ANSWER, write_model_answers
from inarch.evaluate.judges.benchmark import (
    Benchmark,
    Case,
    Dialogues,
    JudgedModel,
    JudgeOptions,
    Ruling,
)
from inarch.evaluate.judges.questions import Question
from inarch.evaluate.mt_bench.files import write_judgments
from inarch.evaluate.mt_bench.judge_pairs import PairwiseBenchmark
from inarch.evaluate.mt_bench.prompts import fill, prompt_name
from inarch.evaluate.mt_bench.ratings import INVALID, Rating, category_of, rating_of, results
from inarch.evaluate.mt_bench.settings import MtBenchProtocol, open_files, sampling_of
from inarch.evaluate.protocol import Result
from inarch.io.endpoints import Reply
from inarch.io.files import make_folder
from inarch.io.sampling import SamplingSettings


def open_mt_bench(settings: MtBenchProtocol) -> Benchmark:
    """Return MT-Bench in the mode that is asked for.

    Raises:
        DataError: A file is absent or something else.
    """
    if settings.baseline is None:
        return MtBenchBenchmark(settings)
    return PairwiseBenchmark(settings, settings.baseline)


class MtBenchBenchmark(Benchmark):
    """Each answer is rated alone, see `inarch.evaluate.judges.benchmark`."""

    name = "mt_bench"
    options = JudgeOptions(temperature=0.0, max_tokens=2048)

    def __init__(self, settings: MtBenchProtocol) -> None:
        self._files = open_files(settings)
        self.questions = self._files.questions
        self.inputs = self._files.digests

    def sampling(self, question: Question) -> SamplingSettings:
        """Return answers of at most 1024 tokens at the category's temperature."""
        return sampling_of(question)

    def cases(self, model: str, dialogues: Dialogues) -> list[Case]:
        """Return one case per turn that is answered."""
        found = []
        for question in self.questions:
            if question.id in dialogues:
                said = {"answer": dialogues[question.id]}
                for turn in range(1, len(question.turns) + 1):
                    prompt = self._files.prompts[prompt_name(question, turn, "single")]
                    asked = fill(prompt, question, turn, said)
                    found.append(Case(question.id, f"turn {turn}", asked))
        return found

    def read(self, case: Case, replies: Sequence[Reply]) -> Ruling:
        """Return the rating."""
        last = replies[-1]
        rating = rating_of(last.text)
        if rating == INVALID:
            cut = last.finish_reason == "length"
            failure = "the judgment is cut before a rating" if cut else "no rating in the judgment"
            return Ruling(math.nan, words=last.text, failure=failure)
        return Ruling(rating, f"{rating:g}", last.text)

    def save(self, path: Path, judged: JudgedModel) -> Path:
        """Write FastChat's judgments, and the answers into ``model_answer`` beside them."""
        file = path.with_name(f"{path.name}.jsonl")
        words = [ruling.words or NO_ANSWER for ruling in judged.rulings]
        write_judgments(file, list(zip(self._ratings(judged), words, strict=True)))
        answers = path.parent / FOLDER / file.name
        make_folder(answers.parent)
        write_model_answers(answers, self.name, judged.model, self.questions, judged.dialogues)
        return file

    def result(self, judged: JudgedModel) -> Result:
        """Return the mean ratings.

        Raises:
            DataError: No judgment holds a rating.
        """
        failures = Counter(ruling.failure for ruling in judged.rulings if ruling.failure)
        made = {
            "inarch": __version__,
            "n_unanswered": sum(q.id not in judged.dialogues for q in self.questions),
            "failures": dict(failures.most_common()),
        }
        found = results(self._ratings(judged), made=made)
        if not found:
            why = failures.most_common(1)[0][0] if failures else "it answered no question in full"
            raise DataError(
                f"{judged.model}: none of {len(judged.cases)} judgments of {judged.judge} holds a"
                f" rating, mostly for: {why}; expected [[5]] or such: take a judge that does what"
                " it is asked"
            )
        judging = (
            f"temperature {self.options.temperature:g}, {self.options.max_tokens} tokens, the first"
            " [[rating]], else the first [rating]"
        )
        record = self._files.record(found[0].protocol, len(self.questions), judging)
        return found[0]._replace(protocol=record)

    def _ratings(self, judged: JudgedModel) -> list[Rating]:
        """Return the rulings as FastChat's rows."""
        by_id = {question.id: question for question in self.questions}
        found = []
        for case, ruling in zip(judged.cases, judged.rulings, strict=True):
            question, turn = by_id[case.question], int(case.part.removeprefix("turn "))
            found.append(
                Rating(
                    int(question.id),
                    question.category or category_of(int(question.id)),
                    judged.model,
                    turn,
                    INVALID if math.isnan(ruling.value) else ruling.value,
                    judged.judge,
                    prompt_name(question, turn, "single"),
                )
            )
        return found
