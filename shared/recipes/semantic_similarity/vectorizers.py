"""What turns the texts of items into vectors: the lexical vectorizer, or a sentence encoder. Needs no torch.

vectorizer/
  columns.json    the columns of Items that it reads
  features.npy, idf.npy, vectors.npy   of ``lexical``
  model.onnx, tokenizer.json           of ``sentence_encoder``, in their place
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from shared.data.arrays.item_texts import TextColumn
from shared.recipes.semantic_similarity.documents import Cells
from shared.recipes.semantic_similarity.lexical import LexicalVectorizer
from shared.recipes.semantic_similarity.sentence_encoder import MODEL, SentenceVectorizer


class Vectorizer(Protocol):
    """Turns items into vectors. Not to be shared by threads."""

    @property
    def columns(self) -> Sequence[TextColumn]: ...

    @property
    def dimensions(self) -> int:
        """D"""
        ...

    def embed(self, rows: Sequence[Cells], on_block: Callable[[], None] = ...) -> npt.NDArray[np.float32]:
        """float32[R,D]: vectors of length 1, zeros for an item without text. ``rows`` has some thousand items."""
        ...

    def save(self, folder: Path) -> None:
        """Write a new folder for ``open_vectorizer``."""
        ...


def open_vectorizer(folder: Path) -> Vectorizer:
    """Open a folder that ``save`` wrote. Raises OSError, ValueError and TypeError where it is damaged."""
    return SentenceVectorizer.open(folder) if (folder / MODEL).exists() else LexicalVectorizer.open(folder)
