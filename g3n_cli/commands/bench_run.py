"""From the flags of ``g3n bench`` to a plan, and the run itself."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from g3n_cli.bench.ab import Ab, check_pairs, compare_pairs, interleave, parse_ab
from g3n_cli.bench.advice import summarize_warnings
from g3n_cli.bench.case import BenchModel, Case, Sweep
from g3n_cli.bench.charts import make_charts
from g3n_cli.bench.check import check_cases
from g3n_cli.bench.choices import Content, FileFormat, Format, Preset
from g3n_cli.bench.devices import parse_devices
from g3n_cli.bench.environment import describe_environment
from g3n_cli.bench.files import History, check_file, is_stream, write_report
from g3n_cli.bench.memory import check_kernel
from g3n_cli.bench.page_cache import chill
from g3n_cli.bench.result import Report
from g3n_cli.bench.runner import Plan, Runner, Status
from g3n_cli.bench.sweep_text import SETTINGS, parse_numbers, parse_setting
from g3n_cli.bench.table import make_figures_table
from g3n_cli.bench.tokens import Source, load_text
from g3n_cli.chat.presence import Presence, Running, describe_process, find_folder
from g3n_cli.commands.bench_media import MEDIA_SETTINGS, MediaRequest
from g3n_cli.commands.bench_output import (
    choose_file_format,
    interrupted_once,
    print_report,
    refuse_inputs,
)
from g3n_cli.commands.bench_servers import check_servers, find_server_models
from g3n_cli.commands.files import read_text
from g3n_cli.commands.synthetic import find_or_make, has_encoders
from g3n_cli.config import CPU, EngineSettings
from g3n_cli.errors import G3nError, UsageError
from g3n_cli.registry.models import read_sizes, resolve
from g3n_cli.ui import bench_view
from g3n_cli.ui.bench_view import TextTable
from g3n_cli.ui.plot import plot
from g3n_cli.ui.terminal import Terminal

PRESETS: dict[Preset | None, tuple[str, str, str, int]] = {
    # -p, -n, -d, -r
    None: ("512", "64", "0", 5),
    "quick": ("128", "32", "0", 3),
    "full": ("128,512,2048", "128", "0,4096", 5),
    "google": ("1024", "256", "0", 5),
}
AB_REPETITIONS = 10


@dataclass(frozen=True)
class Request:
    """What the flags say; None where one was not given."""

    models: tuple[str, ...]
    preset: Preset | None
    n_prompt: str | None
    n_gen: str | None
    n_depth: str | None
    ctx: int
    repetitions: int | None
    ab: str | None
    settings: Mapping[str, str]
    devices: str
    synthetic: str | None
    is_agreed: bool
    file: Path | None
    content: Content
    media: MediaRequest
    is_cold: bool
    format: Format | None
    output: Path | None
    is_plotted: bool


def run_request(request: Request) -> None:
    """Refuse what cannot be, measure, print."""
    check_kernel()
    terminal = Terminal.of_process()
    kind = choose_file_format(request.output, request.format, is_plotted=request.is_plotted)
    if request.output:
        check_file(request.output)
    ab = parse_ab(request.ab) if request.ab else None
    if request.file and request.content == "random":
        raise UsageError("--file and --tokens random contradict each other")
    source = Source(
        request.content, load_text() if request.file is None else read_text(request.file)
    )
    # Before a model is made that would be of no use; --ab may be what names the encoders.
    is_bare = request.synthetic is not None and not has_encoders(request.synthetic)
    request.media.check(request.devices.split(","), lacks_encoders=is_bare and ab is None)
    plan = make_plan(request, make_cases(request, ab, terminal), source)
    refuse_inputs(request.output, plan.cases, request.file)
    check_cases(plan.cases)
    check_servers(plan.cases, request.content, terminal, is_cold=request.is_cold)
    if request.is_cold:
        for path in dict.fromkeys(path for case in plan.cases for path in case.files):
            chill(path)  # what the system keeps shall not end the run later
    Run(request, ab, kind, terminal).execute(plan)


def make_plan(request: Request, cases: Sequence[Case], source: Source) -> Plan:
    """The plan of a request.

    Raises:
        UsageError: too few repetitions to compare.
    """
    usual = AB_REPETITIONS if request.ab else PRESETS[request.preset][3]
    repetitions = request.repetitions or usual
    if request.ab:
        check_pairs(repetitions)
    return Plan(tuple(cases), repetitions, source, request.is_cold)


def make_cases(request: Request, ab: Ab | None, terminal: Terminal) -> tuple[Case, ...]:
    """All cases; those of ``--ab`` in pairs.

    Raises:
        UsageError: a value that makes no sense.
    """
    if ab is None:
        return tuple(_make_sweep(request, *_find_models(request, terminal)).expand())
    a, b = (side.expand() for side in _make_sides(request, ab, terminal))
    if len(a) != len(b):
        hint = "sweep no setting that only one of them has"
        raise UsageError(f"--ab {ab.setting} compares cases that do not come in pairs", hint)
    if a == b:
        raise UsageError(f"--ab {ab.setting} compares {ab.a} with itself, as {ab.b} is the same")
    return interleave(a, b)


def _make_sides(request: Request, ab: Ab, terminal: Terminal) -> list[Sweep]:
    """The sweep of each value of ``--ab``."""
    values, name = (ab.a, ab.b), ab.setting
    _check_setting(name)
    if name == "model":
        if request.models or request.synthetic:
            raise UsageError("--ab model=A,B names the models", "leave -m and --synthetic out")
        models, servers = _find_models(replace(request, models=values), terminal)
        if models and servers:
            raise UsageError("--ab model compares models of this machine or of servers, not both")
        return [
            _make_sweep(
                request, models[i : i + 1], {a: each[i : i + 1] for a, each in servers.items()}
            )
            for i in range(len(values))
        ]
    if name == "device":
        if request.devices != CPU:
            raise UsageError("--device and --ab device contradict each other")
        models, servers = _find_models(replace(request, devices=",".join(values)), terminal)
        return [
            _make_sweep(
                replace(request, devices=value),
                models,
                {a: each for a, each in servers.items() if a == value},
            )
            for value in values
        ]
    if name in MEDIA_SETTINGS:
        requests = [replace(request, media=each) for each in request.media.split(name, values)]
        return [_make_sweep(each, *_find_models(each, terminal)) for each in requests]
    if name in request.settings:
        raise UsageError(f"--{name} and --ab {name} contradict each other")
    if parse_devices(request.devices)[1]:
        raise UsageError(f"--ab {name} is for models on this machine, not for a server")
    if any(len(parse_setting(name, value)) > 1 for value in values):
        raise UsageError(f"--ab {name} compares two values, not ranges")
    settings = [{**request.settings, name: value} for value in values]
    models, servers = _find_models(request, terminal)
    return [_make_sweep(replace(request, settings=each), models, servers) for each in settings]


def _check_setting(name: str) -> None:
    known = {*SETTINGS, *MEDIA_SETTINGS, "model", "device"}
    if name not in known:
        raise UsageError(f"there is no setting {name!r}", f"there is {', '.join(sorted(known))}")


def _make_sweep(
    request: Request, models: Sequence[BenchModel], servers: Mapping[str, Sequence[BenchModel]]
) -> Sweep:
    n_prompt, n_gen, n_depth, _ = PRESETS[request.preset]
    devices, _ = parse_devices(request.devices)
    parsed = [(name, parse_setting(name, text)) for name, text in request.settings.items()]
    return Sweep(
        n_prompt=parse_numbers(_choose(request.n_prompt, n_prompt), "-p"),
        n_gen=parse_numbers(_choose(request.n_gen, n_gen), "-n"),
        n_depth=parse_numbers(_choose(request.n_depth, n_depth), "-d"),
        base=EngineSettings(named_sizes=read_sizes()),
        varied={SETTINGS[name]: values for name, values in parsed},
        devices=devices,
        least_ctx=request.ctx,
        models=models,
        servers=servers,
        media=request.media.find(request.devices.split(",")),
    )


def _choose(given: str | None, usual: str) -> str:
    return usual if given is None else given


def _find_models(
    request: Request, terminal: Terminal
) -> tuple[list[BenchModel], dict[str, list[BenchModel]]]:
    """Models of this machine, and those of servers by address.

    With devices of both kinds ``-m`` names files, and each server runs its first model.
    """
    devices, addresses = parse_devices(request.devices)
    models = _find_files(request, terminal) if devices else []
    return models, find_server_models(addresses, () if devices else request.models, terminal)


def _find_files(request: Request, terminal: Terminal) -> list[BenchModel]:
    """Models by names that differ: a file's stem, or where two are alike all that was typed."""
    wanted: tuple[str | None, ...] = request.models
    if not wanted and not request.synthetic:
        wanted = (os.environ.get("G3N_MODEL") or None,)
    specs = [(text, resolve(text)) for text in wanted]
    stems = [spec.name for _, spec in specs]
    models = [
        BenchModel(
            spec.name if stems.count(spec.name) == 1 else str(text),
            spec.path,
            request.media.find_encoders(spec.path, spec.projector),
        )
        for text, spec in specs
    ]
    if request.synthetic:
        wants = request.media.wants_made_encoders() and has_encoders(request.synthetic)
        made = find_or_make(
            request.synthetic, terminal, with_encoders=wants, is_agreed=request.is_agreed
        )
        assert made.path is not None
        models.append(replace(made, mmproj=request.media.find_encoders(made.path, made.mmproj)))
    return models


class Run:
    """One run at a terminal.

    Args:
        request: What was asked for.
        ab: What is compared, if anything.
        kind: Of the output file.
        terminal: Where things are shown.
    """

    def __init__(
        self, request: Request, ab: Ab | None, kind: FileFormat, terminal: Terminal
    ) -> None:
        self._request, self._ab, self._kind = request, ab, kind
        self._terminal = terminal
        self._view = bench_view.BenchView(terminal)
        self._table: TextTable | None = None

    def execute(self, plan: Plan) -> None:
        """Run the plan; whatever ends it, what has been measured is written and printed."""
        models = dict.fromkeys(case.model for case in plan.cases)
        self._environment = describe_environment(models)
        self._runner = Runner(plan, self._take_sample, self._show)
        with interrupted_once():
            self._presence = Presence(find_folder(), describe_run(plan))
            try:
                with closing(self._presence), self._view:
                    self._runner.run()
            finally:
                self._finish()

    @property
    def report(self) -> Report:
        """What has been measured so far."""
        results = self._runner.results
        comparisons = tuple(compare_pairs(self._ab, results)) if self._ab else ()
        return Report(self._environment, results, comparisons)

    def _take_sample(self) -> None:
        self._presence.note(sum(len(each.samples) for each in self._runner.results), 1)
        output = self._request.output
        if output and not is_stream(output):
            write_report(self.report, output, self._kind)
        self._table = make_figures_table(self._runner.results)

    def _show(self, status: Status) -> None:
        if not self._view.is_live:
            return
        left = "" if status.left_s is None else f", {format_left(status.left_s)} left"
        line = (
            f"{status.n_done} of {status.n_total}{left}: {status.case.label},"
            f" repetition {status.repetition}, {status.phase}"
        )
        self._view.update(self._table, status.n_done / status.n_total, line)

    def _finish(self) -> None:
        report, terminal = self.report, self._terminal
        if not report.cases:
            return
        self._keep(report)  # first: stdout may be a pipe that nobody reads any more
        kind, output = self._request.format or "table", self._request.output
        if output and is_stream(output):
            write_report(report, output, self._kind)
        print_report(terminal, report, "table" if output else kind)
        if self._request.is_plotted:
            for chart in make_charts([("", report)]):
                terminal.write("\n" + plot(chart, terminal))
        for line in summarize_warnings(report.cases):
            terminal.note(line)

    def _keep(self, report: Report) -> None:
        try:
            History.of_person().save(report)
        except G3nError as error:
            self._terminal.note(f"warning: this run is not in the history: {error.message}")


def describe_run(plan: Plan) -> Running:
    """A run for ``g3n ps``."""
    models = dict.fromkeys(case.model.name for case in plan.cases)
    sizes = dict.fromkeys(case.settings.size for case in plan.cases)
    running = describe_process("bench", ", ".join(models), ", ".join(sizes))
    return replace(running, n_now=1)


def format_left(seconds: float) -> str:
    """A time to wait, roughly."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
