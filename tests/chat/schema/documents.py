"""Documents that a model without sense writes under a schema, and schemas to write them under."""

import json

import numpy as np
from hypothesis import strategies as st

from g3n_cli.engine.sampler import Sampler
from g3n_cli.engine.sampling import Stochastic

CLOSING = ('"', "]", "}")
MOST_TOKENS = 600


def write(schema, tokenizer, seed):
    """What random logits write, or None where it has no end; what closes is a little likelier."""
    rng = np.random.default_rng(seed)
    sampling = Stochastic(seed=seed, top_k=0, top_p=1.0)
    sampler = Sampler(sampling, tokenizer.vocab, schema.grammar, end_ids=tokenizer.end_ids)
    likelier = [tokenizer.encode(text)[-1] for text in CLOSING] + sorted(tokenizer.end_ids)
    said = b""
    try:
        for _ in range(MOST_TOKENS):
            logits = rng.normal(0, 2, tokenizer.n_vocab).astype(np.float32)
            logits[likelier] += 4
            token = sampler.sample(logits)
            if token in tokenizer.end_ids:
                return said.decode()
            sampler.accept(token)
            said += tokenizer.piece(token)
    finally:
        sampler.close()
    return None


NAMES = st.text("abπ \"\\/{}'\n-_0", min_size=1, max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-2, 2) | NAMES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)
COUNTS = st.tuples(st.integers(0, 3), st.integers(0, 4))
PATTERNS = st.sampled_from(
    [
        *("^[A-Z]{2}-[0-9]+$", "a|b|cd?", "^(ab|[^a-z]){1,3}$", r"\d{3}\.\w*", r'"[\s\S]\\\\"'),
        *(".+", "(?:x|y)+?z", "[é-ü]", r"^\u0041|b$", r"[\]\-^]"),
    ]
)


def _limit(kind, what, counts):
    low, more = counts
    return {"type": kind, f"min{what}": low, f"max{what}": low + more}


def _make_object(parts, required, is_closed):
    schema = {"type": "object", "properties": parts}
    schema["required"] = [
        name for name, is_needed in zip(parts, required, strict=False) if is_needed
    ]
    return schema | ({"additionalProperties": False} if is_closed else {})


def _make_range(bounds, kind):
    low, high = sorted(bounds)
    return {"type": kind, "minimum": low, "maximum": high}


def _nest(inner):
    counts = st.tuples(st.integers(0, 2), st.integers(0, 2))
    return st.one_of(
        st.builds(
            _make_object,
            st.dictionaries(NAMES, inner, max_size=4),
            st.lists(st.booleans(), min_size=4, max_size=4),
            st.booleans(),
        ),
        st.builds(lambda c, i: _limit("array", "Items", c) | {"items": i}, counts, inner),
        st.lists(inner, min_size=1, max_size=3).map(lambda p: {"type": "array", "prefixItems": p}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"anyOf": parts}),
        inner.map(lambda i: {"type": "object", "additionalProperties": i}),
        inner.map(lambda i: {"allOf": [i]}),
        inner.map(lambda i: {"$ref": "#/$defs/a~1 b%25", "$defs": {"a/ b%": i}}),
    )


LEAVES = st.one_of(
    st.sampled_from(["string", "integer", "number", "boolean", "null"]).map(lambda t: {"type": t}),
    st.just({"type": ["string", "null"], "maxLength": 3}),
    COUNTS.map(lambda c: _limit("string", "Length", c)),
    st.tuples(st.integers(-1200, 1200), st.integers(-1200, 1200)).map(
        lambda bounds: _make_range(bounds, "integer")
    ),
    st.tuples(st.integers(-12, 12), st.integers(-12, 12)).map(
        lambda bounds: _make_range(bounds, "number")
    ),
    st.lists(VALUES, min_size=1, max_size=5).map(lambda values: {"enum": values}),
    VALUES.map(lambda value: {"const": value}),
    PATTERNS.map(lambda pattern: {"type": "string", "pattern": pattern}),
    st.sampled_from(["date", "time", "date-time", "uuid"]).map(
        lambda name: {"type": "string", "format": name}
    ),
)


def _lift(schema):
    """With all ``$defs`` at the root, where references look for them; the last one wins."""
    defs = {}

    def strip(part):
        if isinstance(part, list):
            return [strip(p) for p in part]
        if not isinstance(part, dict):
            return part
        if isinstance(part.get("$ref"), str):
            name = f"d{len(defs)}"
            defs[name] = None
            defs[name] = strip(next(iter(part["$defs"].values())))
            return {"$ref": f"#/$defs/{name}"}
        return {k: v if k in ("enum", "const") else strip(v) for k, v in part.items()}

    schema = strip(schema)
    return json.dumps(schema | ({"$defs": defs} if defs else {}))


SCHEMAS = st.recursive(LEAVES, _nest, max_leaves=6).map(_lift)
