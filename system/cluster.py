"""The cluster in which a process trains, as TensorFlow's variable TF_CONFIG tells it."""

import dataclasses
import json
import os
import re

from system import files
from system.errors import UserError

VARIABLE = "TF_CONFIG"
ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[\w.-]+):(\d{1,5})")  # host:port
EXAMPLE = '{"cluster": {"worker": ["host0:12345", "host1:12345"]}, "task": {"type": "worker", "index": 0}}'


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Workers, of which this process is number `index`; number 0 is the chief, who alone writes."""

    n_workers: int
    index: int
    address: str  # at which the others find this one, host:port


def read(environment=os.environ):
    """The cluster of at least two workers that TF_CONFIG names -> Cluster; None where there is none.

    The workers are counted with the chief, if there is one by that name, before the others. UserError for anything
    else than such a cluster.
    """
    text = environment.get(VARIABLE, "")
    if not text.strip():
        return None
    try:
        workers, place = _workers(files.parse_json(text))
    except ValueError as error:
        raise UserError(f"{VARIABLE} is not that of a worker ({error}): expected such as {EXAMPLE}") from None
    return Cluster(len(workers), place, workers[place]) if len(workers) > 1 else None


def _workers(value):
    """What TF_CONFIG says -> the addresses of all workers, and the place of this process among them; ValueError."""
    cluster, task = (value.get(name) if isinstance(value, dict) else None for name in ("cluster", "task"))
    for name, table in (("cluster", cluster), ("task", task)):
        if not isinstance(table, dict) or not table:
            raise ValueError(f"there is no {name} in it")
    if others := cluster.keys() - {"chief", "worker"}:
        raise ValueError(f"its cluster has tasks of type {json.dumps(min(others))}; there are chief and worker")
    for name, addresses in cluster.items():
        if not isinstance(addresses, list) or not all(isinstance(one, str) and _is_address(one) for one in addresses):
            raise ValueError(f"the tasks of type {name} are no list of addresses host:port")
    chiefs, workers = cluster.get("chief", []), cluster.get("worker", [])
    everyone = [*chiefs, *workers]
    if len(chiefs) > 1 or len(set(everyone)) < len(everyone):
        raise ValueError("there are two chiefs, or two tasks at one address")
    kind, index = task.get("type"), task.get("index")
    if kind not in ("chief", "worker"):
        raise ValueError(f"its task is of type {json.dumps(kind)}; there are chief and worker")
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(cluster.get(kind, [])):
        raise ValueError(f"there is no {kind} of index {json.dumps(index)}")
    return everyone, index + (len(chiefs) if kind == "worker" else 0)


def _is_address(text):
    match = ADDRESS.fullmatch(text)
    return match is not None and 0 < int(match[2]) < 2**16
