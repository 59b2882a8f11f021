from dataclasses import replace

import pytest

from g3n_cli.bench.advice import find_noise
from g3n_cli.bench.memory import Counters
from g3n_cli.bench.watch import Watch
from tests.bench.samples import make_sample

MOST_J = 262_143.0


class Machine:
    """Files as the kernel shows them."""

    def __init__(self, folder):
        self.proc, self.sys = folder / "proc", folder / "sys"
        self.now = self.own = 0.0
        self.write("proc/cpuinfo", "cpu MHz : 2000.0\ncpu MHz : 3000.0\n", folder)
        self.tick()

    def write(self, path, text, folder=None):
        path = (folder or self.proc.parent) / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(text))

    def tick(self, user=0, idle=0, steal=0):
        self.write("proc/stat", f"cpu  {1000 + user} 0 0 {5000 + idle} 0 0 0 {10 + steal} 0 0\n")

    def zone(self, number, name, energy_uj):
        folder = f"sys/class/powercap/intel-rapl:{number}"
        self.write(f"{folder}/name", f"{name}\n")
        self.write(f"{folder}/energy_uj", energy_uj)
        self.write(f"{folder}/max_energy_range_uj", round(MOST_J * 1e6))

    def watch(self):
        return Watch(self.proc, self.sys, lambda: self.own, lambda: self.now)


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_what_other_programs_compute_is_told_apart(machine):
    watch = machine.watch()
    machine.tick(user=250, idle=130, steal=20)  # hundredths of a second, of two processors
    machine.now, machine.own = 2.0, 1.0
    found = watch.stop()
    assert found.other_cpus == pytest.approx((2.5 - 1.0) / 2.0)
    assert found.stolen == pytest.approx(0.05)
    assert found.mhz == 2500


def test_what_the_machine_hides_is_none(machine):
    found = machine.watch().stop()
    assert (found.throttled, found.energy_j) == (None, None)


def test_heat_and_energy_are_read_where_they_are_shown(machine):
    throttle = "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"
    machine.write(throttle, 3)
    machine.zone("0", "package-0", 9_000_000)
    machine.zone("0:0", "core", 5)  # a part of the package
    machine.write("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", 1_800_000)
    watch = machine.watch()
    machine.write(throttle, 5)
    machine.zone("0", "package-0", 1_000_000)  # its counter has started again
    found = watch.stop()
    assert (found.throttled, found.mhz) == (2, 1800)
    assert found.energy_j == pytest.approx(MOST_J - 8.0)


def test_packages_are_added_up_and_the_platform_that_holds_them_is_not(machine):
    zones = [("0", "package-0"), ("1", "package-1"), ("2", "psys")]
    for number, name in zones:
        machine.zone(number, name, 0)
    watch = machine.watch()
    for number, name in zones:
        machine.zone(number, name, 3_000_000)
    assert watch.stop().energy_j == pytest.approx(6.0)


def test_energy_that_is_hidden_in_part_is_not_told(machine):
    machine.zone("0", "package-0", 0)
    machine.zone("1", "package-1", 0)
    # As a file that may not be read: root may read all.
    (machine.sys / "class/powercap/intel-rapl:1/energy_uj").unlink()
    watch = machine.watch()
    machine.zone("1", "package-1", 5)
    assert watch.stop().energy_j is None


def test_a_counter_that_may_have_started_again_twice_tells_nothing(machine):
    machine.zone("0", "package-0", 0)
    watch = machine.watch()
    machine.now = 3600.0
    assert watch.stop().energy_j is None


def test_heat_of_the_package_counts_too(machine):
    path = "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count"
    machine.write(path, 1)
    watch = machine.watch()
    machine.write(path, 2)
    assert watch.stop().throttled == 1


QUIET = [make_sample(0.50, (0.1,)), make_sample(0.51, (0.1,)), make_sample(0.52, (0.1,))]


def warn(samples, n_threads=1):
    return list(find_noise(samples, n_threads, n_cores=2))


def test_quiet_repetitions_are_not_warned_of():
    assert warn(QUIET) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ttft_s": 0.7}, ["first tokens differ by 39%", "raise -r"]),
        ({"gaps_s": (0.2,)}, ["decode speeds differ by 50%"]),
        ({"throttled": 1}, ["temperature"]),
    ],
)
def test_one_bad_repetition_is_warned_of(changes, words):
    (warning,) = warn([*QUIET[:2], replace(QUIET[2], **changes)])
    assert all(word in warning for word in words)


def test_competing_programs_are_warned_of_with_fitting_advice():
    busy = [replace(sample, other_cpus=0.8) for sample in QUIET]
    assert [line.partition(":")[0] for line in warn(busy)] == ["other programs kept 0.8 cores busy"]
    assert "-t 1 may be steadier" in warn(busy, n_threads=2)[1]


def test_a_host_that_takes_time_and_a_scheduler_that_interrupts_are_warned_of():
    stolen = [replace(sample, stolen=0.3) for sample in QUIET]
    assert "took 30% of the time" in warn(stolen)[0]
    switches = Counters(0, 0, 0, switches=500, cpu_s=0)
    assert "again and again" in warn([replace(sample, decode=switches) for sample in QUIET])[0]
