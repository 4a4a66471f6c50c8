"""Length-controlled win rates of published annotations, beside the official regression.

    python benchmarks/length_control.py ../shared/data/eval/alpaca_eval2 [--rounds 5] [--no-json]

The folder has df_gamed.csv, annotations/*.csv and expected.json. Per model: the win rate at the
published strength C; the same with C chosen by cross-validation, by liblinear and by the exact
solver; 300 fits of the bootstrap; and the official computation, which is scikit-learn's
LogisticRegressionCV over doubled rows with folds by GroupKFold. Files are read beforehand, in time
that is told apart. Time is processor time with one thread, the least of several rounds; the whole
command in a process of its own is wall time. The win rates are compared with the expected ones
before they are printed: 1e-6 at the published C, and with cross-validation. Writes
benchmarks/results/length_control-DATE-HARDWARE.json, with the load of the machine.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

import numpy as np
import sklearn
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import make_scorer
from sklearn.model_selection import GroupKFold

from inarch.evaluate.alpaca.files import read_gamed, read_judged
from inarch.evaluate.alpaca.length_control import (
    NUM_FOLDS,
    STRENGTHS,
    Design,
    LengthControlSettings,
    bootstrap_error,
    length_controlled,
    make_design,
    predict,
)

RESULTS = Path(__file__).parent / "results"
BASELINE = "gpt4_1106_preview"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-json", action="store_true")
    args = parser.parse_args()
    expected = json.loads((args.folder / "expected.json").read_text())
    rows = [measure(args.folder, model, expected[model], args.rounds) for model in expected]
    for row in rows:
        print(row)
    fitted = [row for row in rows if "official_cv_s" in row]
    ratio = float(np.median([row["official_cv_s"] / row["cv_s"] for row in fitted]))
    print(f"the official computation takes {ratio:.1f} times as long, in the median")
    if not args.no_json:
        save(rows, ratio, command(args.folder))


def measure(folder: Path, model: str, right: dict[str, Any], rounds: int) -> dict[str, Any]:
    path = folder / f"annotations/{model}.csv"
    gamed, judged = read_gamed(folder / "df_gamed.csv"), read_judged(path)
    align = "position" if model == "phi-2" else "instruction"
    row = {"model": model, "n": len(judged.where)}
    row["read_s"] = best(lambda: (read_gamed(folder / "df_gamed.csv"), read_judged(path)), rounds)
    if model == BASELINE:
        settings = LengthControlSettings()
        row["win_rate"] = length_controlled(judged, gamed, settings).win_rate
        return row | {"cv_s": best(lambda: length_controlled(judged, gamed, settings), rounds)}
    cases = {
        "fixed": LengthControlSettings(c=right["C_published"], align=align),
        "cv": LengthControlSettings(align=align),
        "exact_fixed": LengthControlSettings(c=right["C_published"], align=align, solver="exact"),
        "exact_cv": LengthControlSettings(align=align, solver="exact"),
    }
    for name, settings in cases.items():
        row[f"{name}_lc"] = length_controlled(judged, gamed, settings).win_rate
        row[f"{name}_s"] = best(lambda s=settings: length_controlled(judged, gamed, s), rounds)
    drawn = LengthControlSettings(align=align)
    row["bootstrap_300_s"] = best(
        lambda: bootstrap_error(judged, gamed, drawn, right["C_published"]), rounds
    )
    design = make_design(judged, gamed, align)
    row["official_cv_lc"] = official(design)
    row["official_cv_s"] = best(lambda: official(make_design(judged, gamed, align)), rounds)
    run = right["official_run_sklearn_1.9.1"]["lc"]
    check(model, row["fixed_lc"], right["lc_at_C_published"])
    check(model, row["cv_lc"], run)
    if sklearn.__version__.startswith("1.9."):
        check(model, row["official_cv_lc"], run)
    return row


def check(model: str, found: float, right: float) -> None:
    if abs(found - right) > 1e-6:
        raise SystemExit(f"{model}: {found} is not {right}")


def official(design: Design) -> float:
    """The official regression: each row once per label, folds by row, refitted at the best C."""
    num = len(design.chance_R)
    labels = np.repeat([1, 0], num)
    shares = np.concatenate([design.chance_R, 1 - design.chance_R]) * np.tile(design.weight_R, 2)
    rows = np.concatenate([design.features_R3, design.features_R3])
    folds = list(GroupKFold(NUM_FOLDS).split(rows, labels, np.tile(np.arange(num), 2)))
    with sklearn.config_context(enable_metadata_routing=True):
        scorer = make_scorer(log_loss, response_method="predict_proba", greater_is_better=False)
        model = LogisticRegressionCV(
            Cs=STRENGTHS,
            cv=folds,
            scoring=scorer.set_score_request(sample_weight=True),
            solver="liblinear",
            l1_ratios=(1,),
            fit_intercept=False,
            random_state=123,
            tol=1e-4,
            use_legacy_attributes=False,
        ).set_fit_request(sample_weight=True)
        model.fit(rows, labels, sample_weight=shares)
    return predict(design, model.coef_[0], None).win_rate


def log_loss(truth: np.ndarray, chances: np.ndarray, sample_weight: np.ndarray) -> float:
    """The mean over rows of the weighted loss; a row is there twice."""
    chances = chances[:, 1] if chances.ndim == 2 else chances
    seen = np.where(truth == 1, chances, 1 - chances)
    return float(-(sample_weight * np.log(seen)).sum() / (len(truth) / 2))


def best(work: Callable[[], object], rounds: int) -> float:
    seconds = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return round(min(seconds), 4)


def command(folder: Path) -> dict[str, float]:
    """Wall seconds of the whole command, imports included, the least of three."""
    found = {}
    for solver in ("liblinear", "exact"):
        path = folder / "annotations/FuseChat-Llama-3.1-8B-Instruct.csv"
        words = [sys.executable, "-m", "inarch", "evaluate", "alpaca", "--annotations", path]
        words += ["--gamed", folder / "df_gamed.csv", "--solver", solver, "--json"]
        seconds = []
        for _ in range(3):
            began = time.perf_counter()
            subprocess.run(words, check=True, capture_output=True)
            seconds.append(time.perf_counter() - began)
        found[f"command_{solver}_s"] = round(min(seconds), 3)
    print(found)
    return found


def save(rows: list[dict[str, Any]], ratio: float, whole: dict[str, float]) -> None:
    name = re.sub(r"[^a-z0-9]+", "-", processor().lower()).strip("-")
    content = {"date": str(date.today()), "hardware": processor(), "load": os.getloadavg()}
    content |= {"scikit-learn": sklearn.__version__, "numpy": np.__version__, **whole}
    content |= {"official_over_ours_median": round(ratio, 2), "rows": rows}
    path = RESULTS / f"length_control-{date.today()}-{name}.json"
    path.write_text(json.dumps(content, indent=2) + "\n")
    print(path)


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    main()
