"""Train g3n-mini: one command makes data, vocabulary and weights.

python -m training.train --wordnet /usr/share/wordnet --out training/out
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch.nn import functional as F  # noqa: N812 - its usual name

from training import vocabulary as v
from training.conversations import Composer
from training.model import Gemma3n, Shape
from training.recipe import N_HEAD_WORDS, N_PIECES, PHASES, Encoder, Phase, encode
from training.wordnet import Entry, read_entries

ROWS, POSITIONS = 8, 256
_LEAST = 0.02


def batches(composer: Composer, encoder: Encoder) -> Iterator[tuple[torch.Tensor, ...]]:
    """Endlessly ``ids, documents [rows, positions]``, ``wanted, targets [k]``."""
    rows = [_Row()]
    while True:
        for turns in composer.epoch():
            ids, is_said = encode(turns, encoder)
            ids, is_said = ids[:POSITIONS], is_said[:POSITIONS]
            if len(rows[-1].ids) + len(ids) > POSITIONS:
                if len(rows) == ROWS:
                    yield _make_tensors(rows)
                    rows = []
                rows.append(_Row())
            rows[-1].add(ids, is_said)


@dataclass
class _Row:
    """Conversations one after the other."""

    ids: list[int] = field(default_factory=list)
    documents: list[int] = field(default_factory=list)
    is_said: list[bool] = field(default_factory=list)

    def add(self, ids: list[int], is_said: list[bool]) -> None:
        number = self.documents[-1] + 1 if self.documents else 0
        self.ids += ids
        self.documents += [number] * len(ids)
        self.is_said += is_said


def _make_tensors(rows: Sequence[_Row]) -> tuple[torch.Tensor, ...]:
    ids, documents = (torch.zeros(ROWS, POSITIONS, dtype=torch.long) for _ in range(2))
    documents -= 1
    is_said = torch.zeros(ROWS, POSITIONS, dtype=torch.bool)
    for i, row in enumerate(rows):
        n = len(row.ids)
        ids[i, :n] = torch.tensor(row.ids)
        documents[i, :n] = torch.tensor(row.documents)
        is_said[i, :n] = torch.tensor(row.is_said)
    wanted = is_said.flatten()[1:].nonzero().flatten()  # position p predicts p + 1
    return ids, documents, wanted, ids.flatten()[wanted + 1]


def find_phase(step: int) -> tuple[Phase, int] | None:
    """The phase of a step and the step's number in it; None at the end."""
    for phase in PHASES:
        if step < phase.n_steps:
            return phase, step
        step -= phase.n_steps
    return None


def learning_rate(phase: Phase, step: int) -> float:
    """Rises, then falls along a cosine."""
    if step < phase.warm_up:
        return phase.learning_rate * (step + 1) / phase.warm_up
    share = (step - phase.warm_up) / (phase.n_steps - phase.warm_up)
    return phase.learning_rate * (_LEAST + (1 - _LEAST) * (1 + math.cos(math.pi * share)) / 2)


def main() -> None:
    """Train, from the last checkpoint on if there is one."""
    options = _parse()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    entries = read_entries(options.wordnet)
    words, others = entries[:N_HEAD_WORDS], entries[N_HEAD_WORDS:]
    composer = Composer(words, [entry.word for entry in others], seed=1)
    pieces = make_vocabulary(composer, words)
    encoder = pieces.encoder()
    whole = sum(len(encoder.encode(f" {entry.word}")) == 1 for entry in words)
    _say(f"{len(words)} words, {whole} of them one piece; {len(pieces.pieces)} pieces")
    (options.out / "vocabulary.model").write_bytes(pieces.processor)

    shape = Shape(len(pieces.pieces))
    model = Gemma3n(shape)
    torch._dynamo.config.recompile_limit = 64  # kinds of layer times widths
    for layer in model.blk:
        layer.compile(dynamic=False)
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 0.01},
            {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
        ],
        betas=(0.9, 0.98),
        fused=True,
    )
    step, checkpoint = 0, options.out / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        step = saved["step"]
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        _say(f"goes on from step {step}")
    rng = random.Random(step)
    losses: dict[str, float] = {}
    started = time.monotonic()
    for ids, documents, wanted, targets in batches(composer, encoder):
        if (found := find_phase(step)) is None:
            break
        phase, step_of_phase = found
        (name,) = rng.choices(list(phase.sizes), phase.shares)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(phase, step_of_phase)
        loss = F.cross_entropy(model(ids, documents, wanted, phase.sizes[name]), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        losses[name] = 0.95 * losses.get(name, loss.item()) + 0.05 * loss.item()
        if step % 50 == 0:
            shown = ", ".join(f"{key} {loss:.3f}" for key, loss in losses.items())
            _say(f"{time.monotonic() - started:.0f} s, step {step}: {shown}")
        if step % 300 == 0 or find_phase(step) is None:
            saved = {"step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(saved | {"shape": asdict(shape)}, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").replace(checkpoint)


def make_vocabulary(composer: Composer, words: Sequence[Entry]) -> v.Vocabulary:
    """Pieces of the conversations of a few epochs, in which all words are whole."""
    lines = [
        f" {text}"
        for _ in range(3)
        for turns in composer.epoch()
        for turn in turns
        for text in turn
    ]
    return v.train(lines, [entry.word for entry in words], N_PIECES)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__)
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
