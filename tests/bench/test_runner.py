import signal
import subprocess
import sys

import psutil
import pytest

from g3n_cli.bench import runner
from g3n_cli.bench.case import BenchModel, Case
from g3n_cli.bench.runner import Plan, Runner, run_process
from g3n_cli.bench.tokens import Source
from g3n_cli.bench.worker import Job
from g3n_cli.config import EngineSettings
from g3n_cli.errors import DoesNotFitError, G3nError, ModelError
from tests.bench.samples import make_sample
from tests.model_files import SMALL8

SETTINGS = EngineSettings(n_threads=1)
SMALL = BenchModel("small", SMALL8)
CASES = tuple(Case(SMALL, n, 2, 0, SETTINGS) for n in (4, 5, 6))
SOURCE = Source("text", "Some words.")


class Scripted:
    """Measures nothing and remembers what it was asked for."""

    def __init__(self, stop_at=None):
        self.jobs, self._stop_at = [], stop_at

    def __call__(self, job, on_phase):
        if len(self.jobs) == self._stop_at:
            raise KeyboardInterrupt
        self.jobs.append(job)
        on_phase("measuring")
        return make_sample()


def make_runner(measure, repetitions=3):
    statuses = []
    plan = Plan(CASES, repetitions, SOURCE)
    return Runner(plan, lambda: None, statuses.append, measure), statuses


def test_repetitions_are_interleaved_there_and_back():
    measure = Scripted()
    made, _ = make_runner(measure)
    made.run()
    order = [(job.case.n_prompt, job.seed) for job in measure.jobs]
    assert order == [(4, 0), (5, 0), (6, 0), (6, 1), (5, 1), (4, 1), (4, 2), (5, 2), (6, 2)]
    assert [len(result.samples) for result in made.results] == [3, 3, 3]


def test_an_interrupt_keeps_what_was_measured():
    made, _ = make_runner(Scripted(stop_at=2))
    with pytest.raises(KeyboardInterrupt):
        made.run()
    assert [(r.n_prompt, len(r.samples)) for r in made.results] == [(4, 1), (5, 1)]


def test_progress_counts_up_and_time_left_goes_to_nothing():
    made, statuses = make_runner(Scripted())
    made.run()
    assert statuses[0].left_s is None
    assert [s.n_done for s in statuses if s.phase == "measuring"] == list(range(9))
    assert {s.n_total for s in statuses} == {9}
    assert all(s.left_s >= 0 for s in statuses[3:])


def test_a_process_of_its_own_gives_a_sample_and_its_memory_over_time():
    sample = run_process(Job(CASES[0], SOURCE, 0), lambda _phase: None)
    assert len(sample.gaps_s) == 2
    times, sizes = zip(*sample.rss_trace, strict=True)
    assert list(times) == sorted(times)
    assert 0 < max(sizes) <= 1.1 * max(sample.peak_load_rss_bytes, sample.peak_run_rss_bytes)


def test_what_the_process_says_is_raised_here(tmp_path):
    case = Case(BenchModel("none", tmp_path / "none.gguf"), 4, 2, 0, SETTINGS)
    with pytest.raises(ModelError, match=r"none\.gguf"):
        run_process(Job(case, SOURCE, 0), lambda _phase: None)


def run_instead(monkeypatch, script):
    """Have another program run as the worker."""
    start = subprocess.Popen
    monkeypatch.setattr(
        runner.subprocess, "Popen", lambda _command, **k: start([sys.executable, "-c", script], **k)
    )
    return run_process(Job(CASES[0], SOURCE, 0), lambda _phase: None)


def test_a_process_that_was_killed_is_told_as_such(monkeypatch):
    script = f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})"
    with pytest.raises(DoesNotFitError, match=r"pp4\+tg2 was killed"):
        run_instead(monkeypatch, script)


def test_a_process_that_breaks_is_told_with_its_last_words(monkeypatch):
    with pytest.raises(G3nError, match=r"code 1: .*ZeroDivisionError"):
        run_instead(monkeypatch, "1 / 0")


def test_an_interrupt_leaves_no_process_behind():
    def interrupt(phase):
        if phase != "starting":
            raise KeyboardInterrupt

    before = psutil.Process().children()
    with pytest.raises(KeyboardInterrupt):
        run_process(Job(CASES[0], SOURCE, 0), interrupt)
    assert psutil.Process().children() == before


def test_the_trace_of_a_long_run_is_thinned():
    trace = [(float(i), i) for i in range(1001)]
    thinned = runner._thin(trace)
    assert len(thinned) <= runner.MOST_TRACE
    assert thinned[0] == (0.0, 0)
    assert runner._thin([]) == []
