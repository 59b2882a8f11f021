"""``g3n bench --device ADDRESS``: the program as a process, with servers on this machine."""

import json
import signal
import socket
import time

import pytest

from tests.bench.test_remote import complete, counting
from tests.fake_server import fail, make_event, say, serve, stall, stream
from tests.model_files import SMALL8
from tests.program import assert_fails

COUNTS = ("-p", "40", "-n", "2", "-r", "2")
KEY = "sk-very-secret"


def bench(g3n, fake, *arguments, **more):
    return g3n.run("bench", "--device", fake.url, *arguments, **more)


def always(fake, *pieces, n=40):
    fake.behaviours = [counting(fake, *pieces, usage=(len(pieces),))] * n


def test_a_server_is_measured_and_its_memory_not_claimed(g3n):
    with serve() as fake:
        always(fake, "a", "b", "c")
        done = bench(g3n, fake, *COUNTS, "-o", "json", G3N_API_KEY=KEY)
    assert done.returncode == 0, done.stderr.decode()
    (case,) = json.loads(done.stdout)["cases"]
    assert (case["model"], case["device"], case["label"]) == ("first", fake.url, "pp40+tg2")
    assert case["settings"] == {}
    for name in ("ttft_s", "decode_tps", "itl_p50_s"):
        assert case[name] > 0
    for name in ("prefill_tps", "peak_rss_bytes", "steady_rss_bytes", "load_s", "energy_j"):
        assert case[name] is None
    assert {request["headers"]["authorization"] for request in fake.requests} == {f"Bearer {KEY}"}
    assert KEY.encode() not in done.stdout + done.stderr


def test_a_server_stands_beside_this_machine_in_one_table(g3n):
    with serve() as fake:
        always(fake, "a", "b", "c")
        flags = ("-m", SMALL8, "-t", "1,2", "--device", f"cpu,{fake.url}")
        done = g3n.run("bench", *flags, *COUNTS)
    assert done.returncode == 0, done.stderr.decode()
    figures, memory = done.stdout.decode().split("\n\n")
    lines = figures.splitlines()
    assert lines[0].split()[:4] == ["case", "model", "device", "threads"]
    assert [line.split()[1:4] for line in lines[2:]] == [
        [SMALL8.stem, "cpu", "1"],
        [SMALL8.stem, "cpu", "2"],
        ["first", fake.url, "-"],
    ]
    assert fake.url not in memory


def test_every_form_has_room_for_a_server(g3n):
    for kind in ("md", "csv", "sql", "html", "jsonl"):
        with serve() as fake:
            always(fake, "a", "b", "c")
            done = bench(g3n, fake, *COUNTS, "-o", kind)
        assert done.returncode == 0, done.stderr.decode()
        assert (fake.url in done.stdout.decode()) or kind in ("md", "html")  # one device: not named
        assert "Memory after" not in done.stdout.decode()


def test_models_of_a_server_are_named(g3n):
    with serve() as fake:
        always(fake, "a", "b", "c")
        done = bench(g3n, fake, "-m", "one", "-m", "two", *COUNTS, "-o", "json")
    assert [case["model"] for case in json.loads(done.stdout)["cases"]] == ["one", "two"]


def test_ab_compares_this_machine_with_a_server(g3n):
    with serve() as fake:
        always(fake, "a", "b", "c")
        flags = ("-m", SMALL8, "-t", "1", "-p", "20", "-n", "2", "-r", "5")
        done = g3n.run("bench", *flags, "--ab", f"device=cpu,{fake.url}", "-o", "json")
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert [case["device"] for case in found["cases"]] == ["cpu", fake.url]
    assert {each["figure"] for each in found["comparisons"]} == {"ttft_s", "decode_tps"}


def test_a_server_that_breaks_off_leaves_what_was_measured(g3n):
    out = g3n.home / "r.json"
    with serve() as fake:
        always(fake, "a", "b", "c", n=3)
        fake.behaviours += [complete(40), stream(make_event("a"), ends=False)]
        done = bench(g3n, fake, *COUNTS, "--output", out)
    assert done.returncode == 1
    assert b"broke off" in done.stderr
    (case,) = json.loads(out.read_text())["cases"]
    assert case["repetitions"] == 1


def test_waiting_for_a_busy_server_is_told_before_anything_is_measured(g3n):
    with serve(fail(429, Retry_After="1")) as fake:
        fake.behaviours += [counting(fake, "a", "b", "c", usage=(3,))] * 5
        done = bench(g3n, fake, *COUNTS)
    assert done.returncode == 0
    assert b"trying again in 1 s" in done.stderr


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (("--kv", "q8_0"), "--kv"),
        (("--threads", "1"), "--threads"),
        (("--cold",), "--cold"),
        (("--synthetic", "e2b"), "--synthetic"),
        (("--tokens", "random"), "--tokens random"),
        (("--ab", "kv=f16,q8_0"), "--ab kv"),
        (("--ab", "device=cpu,http://h/v1"), "contradict"),
    ],
)
def test_what_a_server_cannot_do_is_refused_and_nothing_sent(g3n, flags, part):
    with serve() as fake:
        assert_fails(bench(g3n, fake, *COUNTS, *flags), 2, part)
        assert fake.requests == []


@pytest.mark.parametrize(
    ("behave", "code", "part"),
    [(fail(404), 3, "404"), (fail(500), 1, "500"), (say("a"), 1, "no answer")],
)
def test_a_server_that_cannot_be_measured_is_told_before_this_machine_is(g3n, behave, code, part):
    out = g3n.home / "r.json"
    with serve(behave) as fake:
        flags = ("-m", SMALL8, "--device", f"cpu,{fake.url}", "--output", out)
        assert_fails(g3n.run("bench", *flags, *COUNTS), code, part)
    assert not out.exists()


@pytest.mark.parametrize("flags", [(), ("-m", "named")])
def test_a_server_that_is_not_there_is_told_at_once(g3n, flags):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        assert_fails(g3n.run("bench", "--device", address, *flags), 1, "nothing answers at")


def test_an_address_that_is_none_is_refused(g3n):
    assert_fails(g3n.run("bench", "--device", "ftp://host/v1"), 2, "no http:// or https://")
    assert_fails(g3n.run("bench", "--device", "http://u:p@host/v1"), 2, "no password")


def test_settings_of_the_environment_do_not_stand_in_a_servers_way(g3n):
    with serve() as fake:
        always(fake, "a", "b", "c")
        assert bench(g3n, fake, *COUNTS, G3N_KV="q8_0", G3N_THREADS="2").returncode == 0


def test_an_interrupt_amid_a_stream_keeps_what_was_measured(g3n):
    out = g3n.home / "r.json"
    with serve() as fake:
        always(fake, "a", "b", "c", n=3)
        fake.behaviours += [complete(40), stall(make_event("a"))]
        flags = ("--device", fake.url, *COUNTS, "--output", out)
        with g3n.start("bench", *flags) as process:
            deadline = time.monotonic() + 60
            while len(fake.requests) < 5 and time.monotonic() < deadline:
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert printed.decode().splitlines()[2].startswith("pp40+tg2")
    (case,) = json.loads(out.read_text())["cases"]
    assert case["repetitions"] == len(case["samples"]) == 1


@pytest.mark.model
def test_llama_cpp_pythons_server_is_measured_beside_the_same_file_here(g3n, llama_server):
    flags = ("-m", "smollm2", "--device", f"cpu,{llama_server}", "-p", "60", "-n", "4", "-r", "1")
    done = g3n.run("bench", *flags, "-o", "json")
    assert done.returncode == 0, done.stderr.decode()
    here, there = json.loads(done.stdout)["cases"]
    assert (here["device"], there["device"], there["model"]) == ("cpu", llama_server, "smol")
    assert here["label"] == there["label"] == "pp60+tg4"
    assert there["ttft_s"] > 0
    assert there["decode_tps"] > 0
    assert any("counts no tokens" in warning for warning in there["warnings"])
