"""Texts as words, and words as features: the word itself and its n-grams of letters. Needs no torch.

Any language: Unicode is normalised, case and Latin, Greek and Cyrillic accents do not count, and scripts without spaces
between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese) are read as single characters and pairs of them.
"""

from __future__ import annotations

import unicodedata
import zlib
from collections.abc import Iterator

import regex  # type: ignore[import-untyped]

NGRAM_SIZES = (3, 4, 5)
#: A syllable block of Hangul stands for two to three letters.
_HANGUL_SIZES = (2, 3)
MOST_LETTERS = 40
"""Longer words are cut: they are codes, or text without spaces, and would have hundreds of n-grams."""

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_TOKEN = regex.compile(rf"[{_UNSPACED}]+|[[\p{{L}}\p{{M}}\p{{N}}]--[{_UNSPACED}]]+", regex.V1)
_FIRST_UNSPACED = regex.compile(rf"[{_UNSPACED}]")
_ASCII_WORD = regex.compile(r"[a-z0-9]+")
_HANGUL = regex.compile(r"\p{Hangul}")
_ADDRESS = regex.compile(r"(?:https?://|www\.)\S+")
#: Combining marks of Latin, Greek and Cyrillic letters. Those of other scripts are vowels, and stand in other blocks.
_ACCENT = regex.compile("[\u0300-\u036f]+")


def split_words(text: str) -> list[str]:
    """Return the words of a text in order, repeats too; addresses of web pages are left out."""
    if "://" in text or "www." in text:
        text = _ADDRESS.sub(" ", text)
    if text.isascii():
        return [word[:MOST_LETTERS] for word in _ASCII_WORD.findall(text.lower())]
    decomposed = _ACCENT.sub("", unicodedata.normalize("NFKD", text))
    return list(_iter_any_words(unicodedata.normalize("NFC", decomposed).casefold()))


def _iter_any_words(text: str) -> Iterator[str]:
    for token in _TOKEN.findall(text):
        if _FIRST_UNSPACED.match(token):
            yield from token
            yield from (token[place : place + 2] for place in range(len(token) - 1))
        else:
            yield token[:MOST_LETTERS]


def hash_word(word: str) -> int:
    """Return the 32-bit number of the feature that stands for a whole word."""
    return zlib.crc32(b"w" + word.encode(errors="replace"))


def hash_ngrams(word: str) -> list[int]:
    """Return the 32-bit numbers of a word's distinct n-grams; its beginning and end count as letters."""
    if len(word) < 2 or word.isdecimal():
        return []
    padded = f"<{word}>"
    sizes = _HANGUL_SIZES if _HANGUL.search(word) else NGRAM_SIZES
    ngrams = {padded[place : place + size] for size in sizes for place in range(len(padded) - size + 1)}
    return sorted({zlib.crc32(b"g" + ngram.encode(errors="replace")) for ngram in ngrams})
