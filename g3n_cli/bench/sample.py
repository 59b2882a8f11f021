"""What one repetition of a case has measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from g3n_cli.bench.memory import Counters, Ledger
from g3n_cli.bench.metrics import rate


@dataclass(frozen=True)
class Sample:
    """Raw measurements of one repetition, which has a process of its own.

    Of a server only what its stream tells is known: memory, counters and surroundings are None.

    Attributes:
        load_s: Opening the model.
        ttft_s: From the request to the choice of the first token; None without a prompt.
        prefill_s: The part of it that computes the prompt.
        gaps_s: Seconds between tokens after the first: computing one and choosing the next; of a
            server between the pieces that it sends.
        peak_load_rss_bytes: Most that was resident up to the moment the model was open.
        peak_run_rss_bytes: Most that was resident after that.
        ledger: Memory right after the last token.
        prefill: Faults and the like while the prompt was computed.
        decode: The same for the tokens after it.
        other_cpus: Processors that other processes kept busy meanwhile, on average.
        stolen: Share of the time in which the host of a virtual machine took a processor away.
        throttled: Times that the processors were slowed down for their temperature; None if hidden.
        mhz: Mean frequency of the processors at the end; None if hidden.
        energy_j: Energy of the processors' packages; None if hidden.
        rss_trace: Seconds since the process started, and bytes resident then.
        prompt_tokens: What a server counts of the whole prompt; None if it does not.
        reused_tokens: Those of them that it had computed before; None if it does not tell.
        output_tokens: What it counts of the answer, the first token included.
        read_s: Reading, decoding and resampling a medium's file, before the request.
        encode_s: Encoding the medium, opening its encoders included; a part of ``ttft_s``.
        media_tokens: Positions of the prompt that it takes, padding and end marks included.
        sound_s: How long it can be heard; None with pictures.
    """

    load_s: float | None
    ttft_s: float | None
    prefill_s: float | None
    gaps_s: tuple[float, ...]
    peak_load_rss_bytes: int | None = None
    peak_run_rss_bytes: int | None = None
    ledger: Ledger | None = None
    prefill: Counters | None = None
    decode: Counters | None = None
    other_cpus: float | None = None
    stolen: float | None = None
    throttled: int | None = None
    mhz: float | None = None
    energy_j: float | None = None
    rss_trace: tuple[tuple[float, int], ...] = ()
    prompt_tokens: int | None = None
    reused_tokens: int | None = None
    output_tokens: int | None = None
    read_s: float | None = None
    encode_s: float | None = None
    media_tokens: int | None = None
    sound_s: float | None = None

    @property
    def peak_rss_bytes(self) -> int | None:
        """Most that was resident at once, loading included."""
        peaks = [x for x in (self.peak_load_rss_bytes, self.peak_run_rss_bytes) if x is not None]
        return max(peaks, default=None)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Sample:
        """The sample that ``dataclasses.asdict`` made these values of."""
        ledger, prefill, decode = (values[name] for name in ("ledger", "prefill", "decode"))
        changed = {
            "gaps_s": tuple(values["gaps_s"]),
            "ledger": ledger and Ledger(**ledger),
            "prefill": prefill and Counters(**prefill),
            "decode": decode and Counters(**decode),
            "rss_trace": tuple((at, rss) for at, rss in values["rss_trace"]),
        }
        return cls(**{**values, **changed})


def decode_tps(sample: Sample) -> float | None:
    """Tokens after the first / time after the first."""
    n = len(sample.gaps_s)
    if sample.output_tokens is not None and n:  # a server may send several tokens as one piece
        n = sample.output_tokens - 1
    return rate(n, sum(sample.gaps_s))
