"""Who waits for an answer, and who leaves."""

import json
import subprocess
import sys
import threading

import pytest

from tests.fakes import make_engine
from tests.program import ROOT
from tests.serve.front import HI, HeldEngine, run, wait_until


def test_who_comes_when_too_many_wait_is_sent_away():
    held = HeldEngine("Hello", "Hi")
    with run(held.engine, most_waiting=1) as front:
        clients = [front.send_and_stay(HI)]
        wait_until(lambda: held.engine.prompts, "the first is not computed")
        clients.append(front.send_and_stay(HI))
        wait_until(lambda: front.queue.n_waiting == 1, "the second does not wait")
        status, headers, content = front.ask("POST", "/v1/chat/completions", HI)
        assert status == 429
        assert headers["retry-after"].isdecimal()
        assert json.loads(content)["error"]["code"] == "rate_limit_exceeded"
        held.may_go_on.set()
        for client in clients:
            assert b"200 OK" in client.recv(100)
            client.close()


def test_who_leaves_while_waiting_is_not_computed():
    held = HeldEngine("Hello", "Hi")
    with run(held.engine) as front:
        first = front.send_and_stay(HI)
        wait_until(lambda: held.engine.prompts, "the first is not computed")
        second = front.send_and_stay(HI)
        wait_until(lambda: front.queue.n_waiting == 1, "the second does not wait")
        second.close()
        wait_until(lambda: front.queue.n_waiting == 0, "the second still waits")
        held.may_go_on.set()
        assert b"200 OK" in first.recv(100)
        first.close()
        assert front.chat("third")[0] == 200
        assert len(held.engine.prompts) == 2
        assert any("the client has left" in line for line in front.log)


@pytest.mark.parametrize("stream", [False, True])
def test_who_leaves_while_it_is_computed_ends_it(stream):
    held = HeldEngine("x" * 4000, "Hi")
    with run(held.engine) as front:
        client = front.send_and_stay({**HI, "stream": stream})
        wait_until(lambda: held.engine.prompts, "it is not computed")
        decoded = held.engine.decoded
        client.close()
        wait_until(lambda: any("has left" in line for line in front.log), "it is not noticed")
        held.may_go_on.set()
        assert front.chat()[0] == 200
        assert len(held.engine.prompts) == 2
        assert len(decoded) <= 1


def test_who_leaves_while_the_prompt_is_read_ends_it():
    engine, is_reading, may_go_on = make_engine("Hello"), threading.Event(), threading.Event()
    prefill = engine.prefill

    def wait_and_prefill(prompt, on_progress):
        is_reading.set()
        assert may_go_on.wait(20)
        return prefill(prompt, on_progress)

    engine.prefill = wait_and_prefill
    with run(engine) as front:
        client = front.send_and_stay(HI)
        assert is_reading.wait(20)
        client.close()
        wait_until(lambda: any("has left" in line for line in front.log), "it is not noticed")
        may_go_on.set()
        wait_until(lambda: engine.prompts, "it is not read")
        assert front.post("/v1/completions", {"prompt": "x" * 9999})[0] == 400  # computed after it
        assert engine.n_past == 0


def test_a_reader_that_pauses_gets_all_and_holds_up_nobody():
    with run(make_engine("x" * 3000, "Hi")) as front:
        slow = front.send_and_stay({**HI, "stream": True})
        assert front.chat()[0] == 200
        content = b""
        while b"[DONE]" not in content:
            content += slow.recv(1000)
        slow.close()
    assert content.count(b'"content": "x"') == 3000


def test_who_waits_when_the_server_ends_is_told():
    held = HeldEngine("Hello")
    with run(held.engine) as front:
        first = front.send_and_stay(HI)
        wait_until(lambda: held.engine.prompts, "the first is not computed")
        second = front.send_and_stay(HI)
        wait_until(lambda: front.queue.n_waiting == 1, "the second does not wait")
        front.queue.close()
        assert b"503" in second.recv(100)
        assert front.chat()[0] == 503
        held.may_go_on.set()
        for client in (first, second):
            client.close()


INTERRUPTED_WHILE_IT_WAITS = """
import random, signal, threading
from g3n_cli.serve.queue import Job, JobQueue

random.seed(0)
signal.signal(signal.SIGALRM, signal.default_int_handler)
queue, n_interrupted, is_over = JobQueue(most=1 << 30), 0, threading.Event()

def ask():
    while not is_over.wait(1e-4):
        queue.put(Job(None, print))

asking = threading.Thread(target=ask, daemon=True)
asking.start()
for _ in range(3000):
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 3e-4))
        for _ in range(100):
            queue.take(1e-5)
    except KeyboardInterrupt:
        n_interrupted += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
is_over.set()
asking.join(30)
assert not asking.is_alive()
print(n_interrupted)
"""


def test_an_interrupt_at_any_moment_leaves_the_queue_to_others():
    command = [sys.executable, "-c", INTERRUPTED_WHILE_IT_WAITS]
    done = subprocess.run(command, capture_output=True, check=False, timeout=300, cwd=ROOT)
    assert done.returncode == 0, done.stderr.decode()
    assert int(done.stdout) > 100
