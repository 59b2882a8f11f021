"""``g3n bench``: figures of any model on this machine."""

from __future__ import annotations

import typer

from g3n_cli.commands import bench_options as options
from g3n_cli.commands import bench_results

HELP = """Measure a model: first token, prefill, decoding, latencies, memory.

Flags that take lists are swept: every combination is a case. Each is measured several times,
each time in a process of its own, in turn with the others. docs/bench.md defines every figure.

\b
  g3n bench                                       the bundled model, or $G3N_MODEL
  g3n bench -m model.gguf -p 128,512 -d 0,4096    four cases
  g3n bench -m model.gguf --ab prefill=skip,full  is it faster, and how sure is that?
  g3n bench -o json --output result.json          all raw samples
  g3n bench -m model.gguf --media none,audio      with sound before the text, and without
  g3n bench --device cpu,http://host:8080/v1      a server beside this machine
"""

app = typer.Typer(help=HELP, rich_markup_mode=None)
app.command()(bench_results.compare)
app.command()(bench_results.history)
app.command()(bench_results.show)
app.command()(bench_results.rm)
app.command()(bench_results.plot)


@app.callback(invoke_without_command=True, help=HELP)
def bench(  # noqa: PLR0913  one parameter for each flag
    *,
    context: typer.Context,
    model: options.ModelsOption = None,
    preset: options.PresetOption = None,
    n_prompt: options.PromptOption = None,
    n_gen: options.GenOption = None,
    n_depth: options.DepthOption = None,
    ctx: options.CtxOption = 0,
    repetitions: options.RepetitionsOption = None,
    ab: options.AbOption = None,
    threads: options.ThreadsOption = None,
    batch: options.BatchOption = None,
    size: options.SizesOption = None,
    kv: options.KvOption = None,
    ple: options.PleOption = None,
    prefill: options.PrefillOption = None,
    kernels: options.KernelsOption = None,
    device: options.DeviceOption = "cpu",
    gpu_layers: options.GpuLayersOption = None,
    synthetic: options.SyntheticOption = None,
    yes: options.YesOption = False,
    file: options.FileOption = None,
    tokens: options.TokensOption = "text",
    media: options.MediaOption = None,
    mmproj: options.MmprojOption = None,
    image_size: options.ImageSizesOption = None,
    cold: options.ColdOption = False,
    format: options.FormatOption = None,
    output: options.OutputOption = None,
    plot: options.PlotOption = False,
) -> None:
    """Measure a model: first token, prefill, decoding, latencies, memory."""
    if context.invoked_subcommand is not None:
        return
    from g3n_cli.commands.bench_media import MediaRequest
    from g3n_cli.commands.bench_run import Request, run_request
    from g3n_cli.commands.bench_servers import refuse_local_flags

    refuse_local_flags(context, device.split(","))

    settings = {
        "threads": threads,
        "batch": batch,
        "size": size,
        "kv": kv,
        "ple": ple,
        "prefill": prefill,
        "kernels": kernels,
        "gpu-layers": gpu_layers,
    }
    run_request(
        Request(
            models=tuple(model or ()),
            preset=preset,
            n_prompt=n_prompt,
            n_gen=n_gen,
            n_depth=n_depth,
            ctx=ctx,
            repetitions=repetitions,
            ab=ab,
            settings={name: text for name, text in settings.items() if text is not None},
            devices=device,
            synthetic=synthetic,
            is_agreed=yes,
            file=file,
            content=tokens,
            media=MediaRequest(media, mmproj, image_size),
            is_cold=cold,
            format=format,
            output=output,
            is_plotted=plot,
        )
    )
