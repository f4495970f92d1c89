"""Compare the status of `mmaudit.text.mentions` with the negation of the package negspacy, on the reports of Open-i.

    python -m venv other && other/bin/pip install negspacy==1.1.0
    python tests/bench/negation.py --python other/bin/python

negspacy runs in an interpreter of its own, since spaCy may ask for other versions of shared packages. Both get the same
sentences, each distinct one once, and the same findings of the lexicon, where a sentence holds one once. Compared is
whether it is negated: ours (uncertain counts as not negated) and that of `negex` with its clinical terms, on a blank
English pipeline with a sentencizer. Printed: mentions, agreement, processor time of each (ours finds the terms too) and
who is right where they disagree, by the readings in `negation_readings.json`. One reader made them by hand from the
sentences, for samples drawn with seed 0 before and after our errors in the first were mended; a sentence is named by a
hash there, since the reports are not ours to copy.
`--show` prints the sentences of the sample. Needs the package torchxrayvision for its copy of the reports.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
import subprocess
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

READINGS = Path(__file__).with_name("negation_readings.json")
N_SAMPLE = 100
SENTENCE = re.compile(r"(?<=[.?!])\s+")


def findings_in(sentence: str) -> list[tuple[int, int, str]]:
    """Return start, end and concept of each finding that the lexicon knows in a sentence, if it is there once."""
    from mmaudit.text import _lexicon

    lookup, found = _lexicon._lookup(), list(_lexicon._WORD.finditer(sentence.lower()))
    words = [_lexicon._singular(match.group()) for match in found]
    spans, i = [], 0
    while i < len(words):
        for n in range(min(lookup.longest.get(words[i], 1), len(words) - i), 0, -1):
            concept = lookup.concepts.get(tuple(words[i : i + n]))
            if concept is not None and _lexicon._stand_together(sentence, found[i : i + n]):
                spans.append((found[i].start(), found[i + n - 1].end(), concept))
                break
        else:
            n = 1
        i += n
    times = Counter(concept for _, _, concept in spans)
    return [s for s in spans if times[s[2]] == 1 and lookup.categories[s[2]] == "finding"]


def theirs() -> None:
    """Read sentences with spans from standard input, write which spans negspacy negates, and its time."""
    import spacy
    from negspacy.negation import Negex  # noqa: F401  the component registers itself

    nlp = spacy.blank("en")
    sentencizer, negex = nlp.add_pipe("sentencizer"), nlp.add_pipe("negex")
    tasks = json.load(sys.stdin)
    negated = []
    start = time.process_time()
    for sentence, spans in tasks:
        doc = sentencizer(nlp.make_doc(sentence))
        doc.ents = [doc.char_span(a, b, label="FINDING", alignment_mode="expand") for a, b, _ in spans]
        negex(doc)
        negated.append({e.start_char: bool(e._.negex) for e in doc.ents})
    seconds = time.process_time() - start
    json.dump({"seconds": seconds, "negated": [list(found.items()) for found in negated]}, sys.stdout)


def key(sentence: str, concept: str) -> str:
    """Return the name of a mention in the file of readings."""
    return hashlib.sha256(f"{sentence}|{concept}".encode()).hexdigest()[:12]


def main() -> None:
    """Print the comparison."""
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--python", default=sys.executable, help="interpreter that has negspacy")
    arguments.add_argument("--show", action="store_true", help="print the sentences of the sample, shuffled")
    arguments.add_argument("--theirs", action="store_true", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.theirs:
        theirs()
        return
    from mmaudit.datasets import load_openi
    from mmaudit.text import mentions

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reports = load_openi().reports
    sentences = sorted({s for report in reports for s in SENTENCE.split(report) if s})
    tasks = [(s, spans) for s in sentences if (spans := findings_in(s))]
    done = subprocess.run(
        [given.python, __file__, "--theirs"], input=json.dumps(tasks), capture_output=True, text=True, check=True
    )
    their = json.loads(done.stdout)
    mentions("The lexicon is read.")
    start = time.process_time()
    our = [mentions(sentence, max_words=1) for sentence, _ in tasks]
    seconds = time.process_time() - start
    rows = []
    for (sentence, spans), said, negex in zip(tasks, our, their["negated"], strict=True):
        status, negated = {m.term: m.status for m in said}, dict(negex)
        times = Counter(m.term for m in said)
        rows += [
            (sentence, concept, status[concept], negated[at])
            for at, _, concept in spans
            if at in negated and times[concept] == 1
        ]
    table = Counter((status, "negated" if negated else "not negated") for _, _, status, negated in rows)
    differ = [row for row in rows if (row[2] == "negated") != row[3]]
    print(f"{len(sentences):,} distinct sentences, {len(tasks):,} with findings, {len(rows):,} mentions")
    for (status, negex), n in sorted(table.items()):
        print(f"  ours {status:<10} negspacy {negex:<12} {n:6,}")
    print(f"agreement on negated or not {1 - len(differ) / len(rows):.4f}; {len(differ):,} disagree")
    print(f"processor time: ours {seconds:.1f} s, negspacy {their['seconds']:.1f} s")
    sample = random.Random(0).sample(sorted(differ), min(N_SAMPLE, len(differ)))
    readings = json.loads(READINGS.read_text(encoding="utf-8")) if READINGS.exists() else {}
    if given.show:
        for sentence, concept, status, negated in sample:
            name = key(sentence, concept)
            reading = readings.get(name, "?")
            print(f"{name} {reading:<12} ours {status:<10} negspacy {negated!s:<6} [{concept}] {sentence}")
    verdicts = Counter()
    for sentence, concept, status, _ in sample:
        reading = readings.get(key(sentence, concept), "not read")
        right = {"negated": status == "negated", "not negated": status != "negated"}.get(reading)
        verdicts["ours is right" if right else reading if right is None else "negspacy is right"] += 1
    print(f"sample of {len(sample)}:", ", ".join(f"{verdict} {n}" for verdict, n in verdicts.most_common()))


if __name__ == "__main__":
    main()
