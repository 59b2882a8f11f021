"""What tests of ``g3n map`` share: inputs, quick settings, results as they are read."""

import json

from tests.model_files import SMALL8

WORDS = ("moon", "harbor", "topic", "wealth")
MEANING = "what does {} mean?"
MANY = 40
QUICK = ("-m", SMALL8, "--temp", 0, "-n", 12, "--ctx", 256)
FIELDS = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "old": {"type": "boolean"}},
    "required": ["name", "old"],
}
SCHEMA = json.dumps(FIELDS)


def read_records(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def join(*lines):
    return "".join(f"{line}\n" for line in lines)


def make_input():
    return join(*(f"word {i}" for i in range(MANY)))
