"""The commands, in the order of ``g3n --help``, without what they are made of.

Their modules are imported when they run: loading all of them took most of starting up.
"""

from __future__ import annotations

COMMANDS = {
    "chat": ("chat:chat", "Talk to a model, or use it in a pipe."),
    "map": (
        "map_inputs:map_inputs",
        "Ask the same about many inputs: one prompt, an answer for each line or file.",
    ),
    "transcribe": (
        "transcribe:transcribe",
        "Write down what is said in files of sound and video, of any length.",
    ),
    "pull": ("pull:pull", "Fetch a model from the Hugging Face Hub."),
    "list": (
        "local_models:list_models",
        "List the models on this machine, those of other programs too.",
    ),
    "show": ("show:show", "Show what a model file holds and how much memory it takes."),
    "estimate": (
        "estimate:estimate_model",
        "Tell how much memory and disk a model takes, part by part, without loading it.",
    ),
    "verify": (
        "local_models:verify",
        "Read all of a model's file: is it what was published, and can it be run?",
    ),
    "rm": (
        "local_models:rm",
        "Delete a model that g3n pull has fetched; other programs' files are theirs.",
    ),
    "devices": (
        "devices:devices",
        "Show what the installed ggml can compute on, and how to build it for more.",
    ),
    "serve": ("serve:serve", "Answer other programs with a model of this machine."),
    "ps": ("ps:ps", "List what holds a model on this machine: chats, benchmarks, servers."),
    "serve-device": (
        "serve_device:serve_device",
        "Lend this machine's processor or GPU to g3n on another machine.",
    ),
    "slice": (
        "slice:slice_model",
        "Write a model that is nested in a Gemma 3n as a file of its own.",
    ),
    "convert": ("convert:convert", "Make GGUF files from a Gemma 3n as published on Hugging Face."),
    "quality": ("quality:quality", "Compare what a model predicts with different settings."),
    "config": (
        "where:config",
        "Show where everything is that g3n keeps, what it takes, and which settings are in force.",
    ),
    "privacy": (
        "where:privacy",
        "Say what g3n stores on this machine and where, and what it sends: nothing by itself.",
    ),
    "clean": ("clean:clean", "Delete what g3n keeps on this machine; g3n config shows it."),
    "schema": (
        "schema:show_schema",
        "Show the JSON Schema that --schema makes of a file or of fields.",
    ),
    "bench": ("bench:app", "Measure a model: first token, prefill, decoding, latencies, memory."),
    "sessions": ("sessions:app", "List, read, search, export and remove saved conversations."),
    "templates": (
        "templates:app",
        "List, read, write and remove templates of prompts, for g3n chat -t.",
    ),
    "debug": ("debug:app", "Look inside the engine."),
}
"""By name: a function or a group below ``g3n_cli.commands``, and the first line of its help."""
