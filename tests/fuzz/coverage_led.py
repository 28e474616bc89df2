"""The same targets led by coverage: Atheris (libFuzzer for Python) chooses what to damage further, our mutators damage it.

One format, in a process of its own, since what is measured must be imported under Atheris' eyes. Figures and findings go
where `fuzz.run` puts them, which starts this file: `coverage_led.py FORMAT SECONDS OUT SEED`.
"""

import json
import sys
from collections import Counter
from pathlib import Path
from random import Random

import atheris

sys.path[:0] = [str(Path(__file__).parents[1])]
with atheris.instrument_imports(include=["thaw"]):
    import thaw.model_file  # noqa: F401  (all rooms that targets use)

from fuzz.execution import MEMORY, SECONDS, arm, bounded, execute, keep, pack, stack_of, unpack  # noqa: E402
from fuzz.seeds import Sample  # noqa: E402
from fuzz.targets import TARGETS  # noqa: E402


def main() -> None:
    name, seconds, out, seed = sys.argv[1], int(float(sys.argv[2])), Path(sys.argv[3]), int(sys.argv[4])
    target = TARGETS[name]
    seeds = list(target.seeds().values())
    corpus, figures = out / "atheris" / name, out / f"atheris-{name}.json"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, sample in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(pack(sample))
        execute(target, sample)
    counts: Counter[str] = Counter()
    current = out / f"atheris-{name}.sample"

    def sample_of(data: bytes) -> Sample:
        try:
            return unpack(data)
        except (ValueError, EOFError, TypeError):  # libFuzzer's own first attempts: nothing, a newline
            return seeds[0]

    def one(data: bytes) -> None:
        sample = sample_of(data)
        current.write_bytes(data)
        arm(SECONDS * INSTRUMENTED)
        outcome = execute(target, sample)
        arm(0)
        counts["executions"] += 1
        counts["read" if outcome.error is None else "refused"] += 1
        if outcome.problem and outcome.seconds <= SECONDS:
            counts["findings"] += 1
            keep(out, target.name, sample, outcome.problem, outcome.place, stack_of(outcome.error))
        if counts["executions"] % 100 == 0:
            figures.write_text(json.dumps(counts))

    def mutated(data: bytes, largest: int, number: int) -> bytes:
        rng = Random(number)
        try:
            changed = pack(target.mutate(rng, sample_of(data), rng.choice(seeds)))
        except Exception:  # too damaged to be opened and damaged further
            return data
        return changed if len(changed) <= largest else data

    options = [f"-max_total_time={seconds}", f"-seed={seed}", "-max_len=400000", "-rss_limit_mb=0", "-print_final_stats=1"]
    with (out / f"atheris-{name}.stack").open("w") as stack_file, bounded(stack_file, 2 * MEMORY):
        atheris.Setup([sys.argv[0], *options, str(corpus)], one, custom_mutator=mutated)
        atheris.Fuzz()


INSTRUMENTED = 3
"""Times that an execution may take longer where every branch is counted."""

if __name__ == "__main__":
    main()
