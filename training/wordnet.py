"""What WordNet says of a word: its commonest sense, from the files of Debian's ``wordnet-base``.

Source: wndb(5WN) and senseidx(5WN) for the formats.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PARTS = {"n": "noun", "v": "verb", "a": "adjective", "s": "adjective", "r": "adverb"}
_FILES = ("noun", "verb", "adj", "adv")
_NUMBERS = {"n": "1", "v": "2", "a": "3", "r": "4", "s": "5"}
_KIND_OF, _USAGE = "@", ";u"
_RUDE = {"disparagement", "ethnic_slur", "obscenity", "vulgarism", "dirty_word", "slur"}
_FEWEST_WORDS, _MOST_WORDS = 2, 14
_WORD = re.compile(r"[a-z]{3,}")


@dataclass(frozen=True)
class Synset:
    """A meaning and the words that have it, the commonest first."""

    part: str
    words: tuple[str, ...]
    gloss: str
    examples: tuple[str, ...]
    kinds: tuple[str, ...]
    is_rude: bool


@dataclass(frozen=True)
class Entry:
    """A word in its commonest sense.

    Attributes:
        word: Lower case, one word.
        count: How often its senses occur in WordNet's tagged texts.
        part: Part of speech.
        gloss: What it means, one clause.
        synonym: Another word of the sense.
        example: A sentence or phrase with the word.
        kind: What it is a kind of; nouns and verbs.
    """

    word: str
    count: int
    part: str
    gloss: str
    synonym: str | None
    example: str | None
    kind: str | None


def read_entries(folder: Path) -> list[Entry]:
    """All words that can be told of in a clause, those that occur most often first."""
    synsets, keys = _read_synsets(folder)
    counts: dict[str, list[tuple[int, Synset]]] = defaultdict(list)
    for line in (folder / "cntlist.rev").read_text().splitlines():
        key, _, count = line.split()
        lemma, _, rest = key.partition("%")
        if _WORD.fullmatch(lemma) and (at := keys.get((lemma, *rest.split(":")[:3]))):
            counts[lemma].append((int(count), synsets[at]))
    entries = []
    for word, senses in counts.items():
        best = max(senses, key=lambda sense: sense[0])[1]
        if any(sense.is_rude for _, sense in senses):
            continue
        if entry := _make_entry(word, sum(count for count, _ in senses), best):
            entries.append(entry)
    return sorted(entries, key=lambda entry: (-entry.count, entry.word))


def _make_entry(word: str, count: int, sense: Synset) -> Entry | None:
    gloss = _shorten(sense.gloss)
    if not gloss or word in gloss.split():
        return None
    others = (other for other in sense.words if other != word and " " not in other)
    examples = (example for example in sense.examples if word in example.split())
    return Entry(
        word=word,
        count=count,
        part=sense.part,
        gloss=gloss,
        synonym=next((other for other in others if _WORD.fullmatch(other)), None),
        example=next((e for e in examples if len(e.split()) <= _MOST_WORDS), None),
        kind=next((kind for kind in sense.kinds if kind != word), None),
    )


def _shorten(gloss: str) -> str | None:
    """The first clause without what stands in parentheses, or None if it is no good."""
    clause = re.sub(r"\([^)]*\)", " ", gloss).split(";")[0]
    words = re.sub(r"[^a-z0-9',-]", " ", clause.lower()).replace(" ,", ",").split()
    text = " ".join(words).strip(" ,-")
    return text if _FEWEST_WORDS <= len(words) <= _MOST_WORDS else None


def _read_synsets(folder: Path) -> tuple[dict[str, Synset], dict[tuple[str, ...], str]]:
    """Synsets by part and offset, and their places by lemma, type, file and id of a sense."""
    raw, keys = {}, {}
    for name in _FILES:
        for line in (folder / f"data.{name}").read_text().splitlines():
            if not line.startswith(" "):
                offset, head, text = _parse(line)
                raw[offset] = head, text
                for key in head.keys:
                    keys[key] = offset
    synsets = {}
    for offset, (head, text) in raw.items():
        sentences = re.findall(r'"([^"]+)"', text)
        synsets[offset] = Synset(
            part=PARTS[head.type],
            words=tuple(head.words),
            gloss=text.split('"')[0].strip(" ;"),
            examples=tuple(s.lower().strip(" .;") for s in sentences if _is_plain(s)),
            kinds=tuple(raw[to][0].words[0] for to in head.targets(_KIND_OF)),
            is_rude=any(
                not _RUDE.isdisjoint(w.replace(" ", "_") for w in raw[to][0].words)
                for to in head.targets(_USAGE)
            ),
        )
    return synsets, keys


@dataclass(frozen=True)
class _Head:
    type: str
    words: list[str]
    keys: list[tuple[str, ...]]
    pointers: list[tuple[str, str]]

    def targets(self, symbol: str) -> Iterator[str]:
        return (to for kind, to in self.pointers if kind == symbol)


def _parse(line: str) -> tuple[str, _Head, str]:
    fields, _, text = line.partition("|")
    offset, file, kind, count, *rest = fields.split()
    n_words = int(count, 16)
    lemmas = [re.sub(r"\(.*\)", "", lemma) for lemma in rest[: 2 * n_words : 2]]
    ids = [int(number, 16) for number in rest[1 : 2 * n_words : 2]]
    keys = [
        (lemma.lower(), _NUMBERS[kind], file, f"{number:02d}")
        for lemma, number in zip(lemmas, ids, strict=True)
    ]
    rest = rest[2 * n_words :]
    pointers = [
        (rest[at], _place(rest[at + 2], rest[at + 1])) for at in range(1, 4 * int(rest[0]), 4)
    ]
    head = _Head(kind, [lemma.replace("_", " ") for lemma in lemmas], keys, pointers)
    return _place(kind, offset), head, text.strip()


def _place(kind: str, offset: str) -> str:
    return ("a" if kind == "s" else kind) + offset


def _is_plain(sentence: str) -> bool:
    return re.fullmatch(r"[A-Za-z ,.';-]+", sentence) is not None
