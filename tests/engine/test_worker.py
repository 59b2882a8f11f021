import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest

from g3n_cli.engine import worker as worker_module
from g3n_cli.engine.worker import Worker
from g3n_cli.errors import ModelError, Terminated
from tests.program import ROOT


def raise_terminated(*_):
    raise Terminated


@pytest.fixture
def sigterm():
    """SIGTERM raises Terminated for the length of a test."""
    previous = signal.signal(signal.SIGTERM, raise_terminated)
    yield
    signal.signal(signal.SIGTERM, previous)


@pytest.fixture
def stop():
    return threading.Event()


@pytest.fixture
def worker(stop):
    worker = Worker(stop.set)
    yield worker
    worker.close()


def test_run_returns_what_the_function_returns(worker):
    assert worker.run(lambda: 41 + 1) == 42


def test_run_raises_what_the_function_raises(worker):
    def fail():
        raise ModelError("broken")

    with pytest.raises(ModelError, match="broken"):
        worker.run(fail)


def test_the_caller_goes_on_beside_what_it_starts(worker):
    is_on = threading.Event()
    task = worker.start(lambda: is_on.wait(30))
    is_on.set()
    assert task.result() is True


def test_what_fails_beside_the_caller_is_raised_where_it_is_wanted(worker):
    def fail():
        raise ModelError("broken")

    task = worker.start(fail)
    with pytest.raises(ModelError, match="broken"):
        task.result()


def test_an_interrupt_while_closing_is_raised_once_the_function_has_ended(worker):
    ended = []

    def compute():
        with suppress(RuntimeError):  # it is closed
            while True:
                worker.start(int)
                time.sleep(0.01)
        time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        ended.append(True)

    worker.start(compute)
    with pytest.raises(KeyboardInterrupt):
        worker.close()
    assert ended == [True]


def test_everything_runs_on_one_other_thread(worker):
    threads = {worker.run(threading.get_ident) for _ in range(5)}
    assert len(threads) == 1
    assert threading.get_ident() not in threads


@pytest.mark.parametrize(
    ("signum", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
@pytest.mark.usefixtures("sigterm")
def test_interrupt_aborts_waits_for_the_function_and_is_raised(worker, stop, signum, error):
    ended = []

    def compute():
        os.kill(os.getpid(), signum)
        stop.wait()
        ended.append(True)

    with pytest.raises(error):
        worker.run(compute)
    assert ended == [True]


def test_second_interrupt_does_not_leave_the_function_running(worker, stop):
    ended = []

    def compute():
        os.kill(os.getpid(), signal.SIGINT)
        stop.wait()
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(0.05)
        ended.append(True)

    with pytest.raises(KeyboardInterrupt):
        worker.run(compute)
    assert ended == [True]


def test_a_person_may_insist_where_a_function_may_never_end(monkeypatch):
    monkeypatch.setattr(worker_module, "INSIST_S", 0.5)
    is_insisted, calls = threading.Event(), []

    def interrupt_after(seconds):
        threading.Event().wait(seconds)
        os.kill(os.getpid(), signal.SIGINT)

    def compute():
        interrupt_after(0)
        interrupt_after(0.1)  # too soon after the first to be meant so
        threading.Event().wait(0.2)
        calls.append(is_insisted.is_set())
        interrupt_after(0.5)
        is_insisted.wait(30)

    worker = Worker(lambda: None, is_insisted.set)
    with pytest.raises(KeyboardInterrupt):
        worker.run(compute)
    worker.close()
    assert (calls, is_insisted.is_set()) == ([False], True)


def test_worker_is_usable_after_an_interrupt(worker, stop):
    def compute():
        os.kill(os.getpid(), signal.SIGINT)
        stop.wait()

    with pytest.raises(KeyboardInterrupt):
        worker.run(compute)
    assert worker.run(lambda: "next") == "next"


def test_closing_twice_is_harmless_and_a_closed_worker_refuses(worker):
    worker.run(lambda: None)
    worker.close()
    worker.close()
    with pytest.raises(RuntimeError):
        worker.run(lambda: None)


INTERRUPTED_AGAIN_AND_AGAIN = """
import random, signal
from g3n_cli.engine.worker import Worker

random.seed(0)
worker = Worker(lambda: None)
n_interrupted = 0
for _ in range(3000):
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 3e-4))
        for _ in range(40):
            assert worker.run(int) == 0
    except KeyboardInterrupt:
        n_interrupted += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
assert worker.run(lambda: 42) == 42
print(n_interrupted)
"""


def test_an_interrupt_at_any_moment_leaves_nothing_locked():
    script = "import signal; signal.signal(signal.SIGALRM, signal.default_int_handler)\n"
    done = subprocess.run(
        [sys.executable, "-c", script + INTERRUPTED_AGAIN_AND_AGAIN],
        capture_output=True,
        check=False,
        timeout=300,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert int(done.stdout) > 100
