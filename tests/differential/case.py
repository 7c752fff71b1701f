"""One case: a generated collection, rounds of generated writes, and questions after each round."""

from dataclasses import replace
from typing import Any, Callable

from .compare import Mismatch, check_hits, check_records, same_id
from .generate import FIELD_KINDS, Generator
from .model import Collection

ALL = 10_000
Make = Callable[[Collection], Any]


def run_case(
    seed: int, make_subject: Make, make_oracle: Make, *, rounds: int = 12, questions: int = 6, indexes: bool = True, booleans: bool = True
) -> int:
    """Raises `Mismatch` naming seed, round and request; returns how many answers were compared."""
    gen = Generator(seed, booleans=booleans)
    collection = gen.collection()
    subject, oracle = make_subject(collection), make_oracle(collection)
    try:
        return _rounds(gen, collection, subject, oracle, rounds, questions, indexes)
    except Mismatch as difference:
        raise Mismatch(f"seed {seed}: {difference}") from None
    finally:
        subject.close()
        oracle.close()


def _rounds(gen: Generator, collection: Collection, subject: Any, oracle: Any, rounds: int, questions: int, indexes: bool) -> int:
    history: list[str] = []
    compared = 0
    for _ in range(rounds):
        if indexes and gen.rng.random() < 0.3:
            field = gen.rng.choice(sorted(FIELD_KINDS))
            subject.create_index(field, FIELD_KINDS[field])
            history.append(f"index {field}")
        operations = gen.operations(collection)
        history += [f"{type(op).__name__}: {op.model_dump_json(exclude_none=True)}" for op in operations]
        both(subject, oracle, history, lambda b: b.apply(operations))
        expected, got = both(subject, oracle, history, lambda b: b.scroll(None, ALL)[0])
        _checked(lambda: check_records(collection, expected, got), "state", history)
        gen.existing = [same_id(point.id) for point in expected]
        compared += 1 + _questions(gen, collection, subject, oracle, questions, history)
    return compared


def _questions(gen: Generator, collection: Collection, subject: Any, oracle: Any, count: int, history: list[str]) -> int:
    for _ in range(count):
        match gen.rng.choice(["search", "search", "search", "scroll", "count", "retrieve"]):
            case "search":
                _search(gen, collection, subject, oracle, history)
            case "scroll":
                _scroll(gen, collection, subject, oracle, history)
            case "count":
                condition = gen.filter(collection)
                expected, got = both(subject, oracle, history, lambda b: b.count(condition))
                if expected != got:
                    _fail(f"count {got}, expected {expected}", condition.model_dump_json(exclude_none=True), history)
            case "retrieve":
                ids = gen.ids()
                payload, vectors = gen.payload_selector(), gen.vector_selector(collection)
                expected, got = both(subject, oracle, history, lambda b: b.retrieve(ids, payload, vectors))
                order = {point_id: place for place, point_id in enumerate(ids)}
                expected, got = ([*sorted(a, key=lambda p: order[same_id(p.id)])] for a in (expected, got))
                _checked(lambda: check_records(collection, expected, got), f"retrieve {ids} {payload!r} {vectors!r}", history)
    return count


def _search(gen: Generator, collection: Collection, subject: Any, oracle: Any, history: list[str]) -> None:
    search = gen.search(collection)
    if search.point is not None and search.using not in _vectors_of(oracle, search.point):
        return
    ranking = oracle.query(replace(search, limit=ALL, offset=0, score_threshold=None))
    hits = _attempt(subject, history, lambda b: b.query(search))
    _checked(lambda: check_hits(collection, search, ranking, hits), f"{search!r}", history)


def _vectors_of(backend: Any, point: Any) -> dict[str, Any]:
    vector = backend.retrieve([point], False, True)[0].vector
    if isinstance(vector, dict):
        return vector
    return {} if vector is None else {"": vector}


def _scroll(gen: Generator, collection: Collection, subject: Any, oracle: Any, history: list[str]) -> None:
    condition = gen.filter(collection) if gen.rng.random() < 0.8 else None
    page = gen.rng.choice([1, 3, 50])
    offset = gen.rng.choice([None, None, gen.point_id()])
    what = f"scroll {page} from {offset}: {condition.model_dump_json(exclude_none=True) if condition else 'all'}"
    for _ in range(3):
        expected, got = both(subject, oracle, history, lambda b: b.scroll(condition, page, offset))
        _checked(lambda: check_records(collection, expected[0], got[0]), what, history)
        wanted, found = (None if a[1] is None else same_id(a[1]) for a in (expected, got))
        if wanted != found:
            _fail(f"next page at {found}, expected {wanted}", what, history)
        if wanted is None:
            return
        offset = wanted


def both(subject: Any, oracle: Any, history: list[str], ask: Callable[[Any], Any]) -> tuple[Any, Any]:
    """The reference's answer and the one under test. Requests are valid, so an error is a difference."""
    return _attempt(oracle, history, ask), _attempt(subject, history, ask)


def _attempt(backend: Any, history: list[str], ask: Callable[[Any], Any]) -> Any:
    try:
        return ask(backend)
    except Exception as error:
        _fail(f"{backend.name} failed: {type(error).__name__}: {error}", "", history)


def _checked(check: Callable[[], None], what: str, history: list[str]) -> None:
    try:
        check()
    except Mismatch as difference:
        _fail(str(difference), what, history)


def _fail(difference: str, what: str, history: list[str]) -> None:
    recent = "\n  ".join(entry[:2000] for entry in history[-4:])
    raise Mismatch(f"{difference}\nrequest: {what}\nlast writes:\n  {recent}") from None
