"""Words as numbers for a small text encoder: a vocabulary that is learned from reports and kept as JSON."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mmaudit._errors import InputError

__all__ = ["WordTokenizer"]

PAD, START, UNKNOWN = 0, 1, 2
MOST_NUMBERS = 100_000  # of a text, that a file may ask for
N_SPECIAL = 3  # before the words; the end comes after them
_WORD = re.compile(r"[^\W\d_]+|\d+")


class WordTokenizer:
    """Texts as numbers of words, called as the tokenizers of open_clip are.

    A text is lower-cased and cut into runs of letters and runs of digits; all else is dropped. Its numbers are
    `<start>`, a number a word, `<end>`, then `<pad>` (0). `<end>` is the highest number of all, since open_clip reads
    the embedding of a text where its number is highest.

    Parameters
    ----------
    words : sequence of str
        The vocabulary, each word once, as `split` cuts them. Word k has the number k + 3.
    context_length : int
        Numbers a text, `<start>` and `<end>` among them; longer texts lose their end.

    Raises
    ------
    InputError
        Words that no text can contain or that come twice, or a context too short for a word.

    Notes
    -----
    Words that are not in the vocabulary are all one number, `<unknown>`: a text made of them says nothing to a model,
    which `known_share` tells. Reports hold few words: a vocabulary of words is smaller than one of word pieces, and
    needs no library.

    Examples
    --------
    >>> tokenizer = WordTokenizer(["pleural", "effusion", "no"], context_length=6)
    >>> tokenizer.encode("No LEFT pleural effusion.")
    [5, 2, 3, 4]
    >>> tokenizer.known_share("No LEFT pleural effusion.")
    0.75
    """

    def __init__(self, words: Sequence[str], *, context_length: int = 160) -> None:
        if isinstance(context_length, bool) or not isinstance(context_length, int) or context_length < 3:
            raise InputError("context_length", "a whole number from 3 up", f"{context_length!r}", "Use 160.")
        self.words = tuple(words)
        self.context_length = context_length
        self._numbers = {word: number for number, word in enumerate(self.words, start=N_SPECIAL)}
        if len(self._numbers) < len(self.words) or any(self.split(word) != [word] for word in self.words):
            raise InputError(
                "words",
                "lower-case words, each once",
                "one that comes twice or that no text is cut into",
                "Make the tokenizer with WordTokenizer.learn(texts).",
            )
        self.end = N_SPECIAL + len(self.words)

    @classmethod
    def learn(cls, texts: Iterable[str], *, min_count: int = 5, context_length: int = 160) -> WordTokenizer:
        """Return a tokenizer whose words occur at least `min_count` times in `texts`, the most frequent first."""
        counts = Counter(word for text in texts for word in cls.split(text))
        frequent = [(-n, word) for word, n in counts.items() if n >= min_count]
        return cls([word for _, word in sorted(frequent)], context_length=context_length)

    @staticmethod
    def split(text: str) -> list[str]:
        """Return the words and numbers of a text, lower-cased."""
        return _WORD.findall(text.lower())

    @property
    def vocab_size(self) -> int:
        """How many numbers there are."""
        return self.end + 1

    def encode(self, text: str) -> list[int]:
        """Return the numbers of the words of a text, without `<start>`, `<end>` and `<pad>`."""
        return [self._numbers.get(word, UNKNOWN) for word in self.split(text)]

    def known_share(self, text: str) -> float:
        """Return the share of the words of a text that are in the vocabulary, in [0, 1]; 0 for a text without words.

        At 0 a model cannot know what the text says, and what is like it is chance.
        """
        numbers = self.encode(text)
        return sum(number != UNKNOWN for number in numbers) / max(len(numbers), 1)

    def __call__(self, texts: str | Sequence[str], context_length: int | None = None) -> Any:
        """Return texts as a tensor of shape (n_texts, context_length), int64; a text alone is a list of one.

        `context_length` None: that of the tokenizer.
        """
        import torch

        length = self.context_length if context_length is None else context_length
        texts = [texts] if isinstance(texts, str) else texts
        tokens = torch.full((len(texts), length), PAD, dtype=torch.long)
        for row, text in zip(tokens, texts, strict=True):
            numbers = [START, *self.encode(text)[: length - 2], self.end]
            row[: len(numbers)] = torch.tensor(numbers)
        return tokens

    def save(self, path: str | Path) -> None:
        """Write the vocabulary to a JSON file."""
        content = {"context_length": self.context_length, "words": self.words}
        Path(path).write_text(json.dumps(content, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> WordTokenizer:
        """Return the tokenizer that `save` wrote to `path`."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            words, context_length = content["words"], content["context_length"]
            if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
                raise TypeError
            if not isinstance(context_length, int) or context_length > MOST_NUMBERS:
                raise TypeError
        except OSError:
            raise InputError("path", "a file that can be read", "a path at which there is none", "Check it.") from None
        except (ValueError, KeyError, TypeError, RecursionError):
            raise InputError(
                "path", "a vocabulary that WordTokenizer.save wrote", "another file", "Save the vocabulary again."
            ) from None
        return cls(words, context_length=context_length)
