"""A tagger is known by the files in its folder."""

import numpy as np
import pytest

from inarch.errors import SettingsError, WeightsError
from inarch.spans.lexicon import LexiconTagger
from inarch.spans.loading import Decoding, load_tagger, load_taggers
from inarch.spans.logistic import LogisticTagger
from inarch.spans.onnx_export import export_onnx
from inarch.spans.onnx_model import OnnxModel
from inarch.spans.tagger import Tagger
from inarch.spans.vote import Ensemble

from .made_up import made


def test_an_exported_tagger_is_known_too(tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    export_onnx(*made("words"), tmp_path)
    tagger = load_tagger(tmp_path, Decoding("posterior", 0.0))
    assert isinstance(tagger, Tagger)
    assert isinstance(tagger.model, OnnxModel)
    assert [span.text for span in tagger.tag("the dog")] == ["the dog"]
    assert load_tagger(tmp_path, Decoding("posterior", 1.0)).tag("the dog") == []


def test_a_tagger_is_known_by_its_files(tmp_path):
    LexiconTagger({"fool": 0.9}).save_pretrained(tmp_path / "words")
    LogisticTagger(np.zeros(1 << 20, np.float32), -1.0).save_pretrained(tmp_path / "logistic")
    assert isinstance(load_tagger(tmp_path / "words"), LexiconTagger)
    assert isinstance(load_tagger(tmp_path / "logistic"), LogisticTagger)
    with pytest.raises(WeightsError, match=r"found no config\.json"):
        load_tagger(tmp_path)
    both = load_taggers([tmp_path / "words", tmp_path / "logistic"], 1)
    assert isinstance(both, Ensemble)
    assert [span.text for span in both.tag("a fool")] == ["fool"]
    assert load_taggers([tmp_path / "words", tmp_path / "logistic"]).tag("a fool") == []
    assert isinstance(load_taggers([tmp_path / "words"]), LexiconTagger)
    with pytest.raises(SettingsError, match="found min_votes 1 with one model"):
        load_taggers([tmp_path / "words"], 1)
    with pytest.raises(SettingsError, match="at least one tagger"):
        load_taggers([])
