"""Draw phantom films as a user's first audit does, and say how long it takes.

    python tests/bench/phantom_images.py --n 2000 --size 224 --jobs 2

The films are the first of `load_phantom`, drawn into an empty cache that is removed afterwards.
"""

from __future__ import annotations

import argparse
import tempfile
import time

from mmaudit.datasets import load_phantom
from mmaudit.datasets.phantom import PhantomImages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=2000, help="images")
    parser.add_argument("--size", type=int, default=224, help="width and height in pixels")
    parser.add_argument("--bits", type=int, default=8, choices=(8, 16))
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    options = parser.parse_args()
    films = load_phantom(max(2, options.n // 3), cache=False).images.films[: options.n]
    with tempfile.TemporaryDirectory() as folder:
        images = PhantomImages(films, options.size, bit_depth=options.bits, cache=folder)
        for what in ("drawn", "found"):
            start = time.perf_counter()
            images.prepare(n_jobs=options.jobs, progress=True)
            took = time.perf_counter() - start
            each_ms = took / len(images) * 1e3
            print(f"{what}: {len(images):,} images of {options.size} px in {took:.1f} s, {each_ms:.1f} ms each")
        start = time.perf_counter()
        for i in range(len(images)):
            images.read(i)
        took = time.perf_counter() - start
        print(f"read: {took:.1f} s, {took / len(images) * 1e3:.2f} ms each")


if __name__ == "__main__":
    main()
