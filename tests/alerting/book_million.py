"""The book against the plain model over a million random events.

`python -m tests.alerting.book_million [--events 1000000]`. The same twins as in `test_book_model`,
as many lives as the number of events asks for, the seeds 1, 2, 3 and so on; every event is
compared. Ends at the first disagreement, which names its seed.
"""

import argparse
import multiprocessing
import sys
from collections import Counter

from tests.alerting.test_book_model import Twin

_SAID_EVERY = 50_000


def life(job: tuple[int, int]) -> tuple[int, Counter[str]]:
    """Live one life; its number of events and what was heard in it."""
    seed, events = job
    twin = Twin(seed)
    twin.live(events)
    return events, twin.notices


def main(argv: list[str]) -> int:
    """Live them all, on every core."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--life", type=int, default=2_000, help="events of one life")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    options = parser.parse_args(argv)
    lives = -(-options.events // options.life)
    jobs = [(options.first_seed + n, options.life) for n in range(lives)]
    done, heard = 0, Counter[str]()
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        for events, notices in pool.imap_unordered(life, jobs):
            done += events
            heard.update(notices)
            if done // _SAID_EVERY > (done - events) // _SAID_EVERY:
                print(f"{done:,} events", file=sys.stderr, flush=True)
    for what, count in sorted(heard.items()):
        print(f"{what:32} {count:,}")
    print(f"\n{done:,} events in {lives} lives, {sum(heard.values()):,} notices: no disagreement")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
