"""Work done ahead by threads, a bounded number of items before it is asked for."""

import collections
import concurrent.futures
import contextvars
import itertools

from system import errors


def ahead(function, items, n_ahead, n_threads=1):
    """Yield (item, what the function gives of it, or the UserError of what went wrong) in the order of the items.

    At most `n_ahead` results wait; an error that is a mistake of the program is raised. The threads have the context
    variables of this one.
    """

    waiting = iter(items)
    with concurrent.futures.ThreadPoolExecutor(n_threads) as pool:

        def start(item):
            return item, pool.submit(contextvars.copy_context().run, errors.outcome, function, item)

        pending = collections.deque(map(start, itertools.islice(waiting, n_ahead)))
        while pending:
            item, future = pending.popleft()
            yield item, future.result()
            pending.extend(map(start, itertools.islice(waiting, 1)))
