"""Semantic-Similarity with a sentence encoder: a folder of the operator's, kept in the artifact."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.data.arrays.histories import DataRefused
from shared.recipes.hrnn.serving import int8_products as protobuf
from shared.recipes.scoring_api import NewItem
from shared.recipes.semantic_similarity.scoring import Scorer
from shared.recipes.semantic_similarity.sentence_encoder import SentenceVectorizer, find_encoder_files
from tests.recipes.books import COLUMNS, SEMANTIC, books, find_related
from tests.recipes.runs import train

VOCABULARY = ("sea", "boat", "pan", "oven")


class Tokenizer:
    """The part of ``tokenizers.Tokenizer`` that is used, with a word for each token."""

    @classmethod
    def from_file(cls, path: str) -> Tokenizer:
        assert Path(path).read_text() == "{}"
        return cls()

    def enable_truncation(self, most: int) -> None:
        self.most = most

    def no_padding(self) -> None:
        pass

    def encode(self, text: str) -> Any:
        ids = [VOCABULARY.index(word) if word in VOCABULARY else 4 for word in text.split()][: self.most]
        return types.SimpleNamespace(ids=ids, attention_mask=[1] * len(ids), type_ids=[0] * len(ids))


def write_encoder(folder: Path) -> Path:
    """A model that looks up the vectors of its tokens: boats are near the sea, and ovens near pans."""
    table = np.array([[1, 0.1, 0], [1, 0, 0], [0, 1, 0], [0.1, 1, 0], [0, 0, 1]], np.float32)
    encode = protobuf._encode_message
    text, number = protobuf._encode_text, protobuf._encode_number
    node = text(1, "table") + text(1, "input_ids") + text(2, "tokens") + text(4, "Gather")
    dims = encode(1, text(2, "B")) + encode(1, text(2, "T"))
    ids = text(1, "input_ids") + encode(2, encode(1, number(1, 7) + encode(2, dims)))
    tokens = text(1, "tokens") + encode(2, encode(1, number(1, 1)))
    graph = (
        encode(1, node)
        + text(2, "encoder")
        + encode(5, protobuf._encode_tensor("table", 1, table))
        + encode(11, ids)
        + encode(12, tokens)
    )
    folder.mkdir()
    (folder / "model.onnx").write_bytes(
        number(1, protobuf._IR_VERSION) + encode(7, graph) + encode(8, text(1, "") + number(2, protobuf._OPSET))
    )
    (folder / "tokenizer.json").write_text("{}")
    return folder


@pytest.fixture
def tokenizers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", types.SimpleNamespace(Tokenizer=Tokenizer))


@pytest.mark.usefixtures("tokenizers")
def test_a_folder_with_a_sentence_encoder_is_used_and_kept_in_the_artifact(tmp_path: Path) -> None:
    rows = [["sea", "", ""], ["oven", "", ""], ["", "boat boat", ""], ["pan", "", ""], ["", "", ""]]
    encoder = write_encoder(tmp_path / "encoder")
    _, artifact = train(tmp_path, books(rows, taken=False), SEMANTIC, sentence_encoder=str(encoder))
    (encoder / "model.onnx").unlink()
    scorer = Scorer.load(artifact)
    assert find_related(scorer, "b000", 1) == ["b002"]
    assert find_related(scorer, "b003", 1) == ["b001"]
    updated = scorer.with_items([NewItem("b9", {"PLOT": "sea boat"}, at=0.0)])
    assert set(find_related(updated, "b9", 2)) == {"b000", "b002"}


@pytest.mark.usefixtures("tokenizers")
def test_a_damaged_sentence_encoder_is_refused(tmp_path: Path) -> None:
    encoder = write_encoder(tmp_path / "encoder")
    (encoder / "model.onnx").write_bytes(b"no model")
    with pytest.raises(DataRefused, match="no sentence encoder that can be used"):
        train(tmp_path, books(), SEMANTIC, sentence_encoder=str(encoder))


def test_a_missing_folder_package_or_extra_is_refused_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataRefused, match=r"no folder with model\.onnx"):
        find_encoder_files(str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(DataRefused, match=r"install foretaste\[sentence\]"):
        find_encoder_files("all-MiniLM-L6-v2")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    encoder = write_encoder(tmp_path / "encoder")
    with pytest.raises(DataRefused, match=r"install foretaste\[sentence\]"):
        SentenceVectorizer(COLUMNS, *find_encoder_files(str(encoder)))
