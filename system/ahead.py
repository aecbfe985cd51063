"""Work done ahead by threads, a bounded number of items before it is asked for."""

import collections
import concurrent.futures
import itertools

from system import errors


def ahead(function, items, n_ahead, n_threads=1):
    """Yield (item, what the function gives of it, or the UserError of what went wrong) in the order of the items.

    At most `n_ahead` results wait; an error that is a mistake of the program is raised.
    """

    waiting = iter(items)
    with concurrent.futures.ThreadPoolExecutor(n_threads) as pool:

        def started(n):
            return [(item, pool.submit(errors.outcome, function, item)) for item in itertools.islice(waiting, n)]

        pending = collections.deque(started(n_ahead))
        while pending:
            item, future = pending.popleft()
            yield item, future.result()
            pending.extend(started(1))
