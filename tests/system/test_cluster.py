"""TF_CONFIG: which worker of how many a process is, and what is none."""

import json

import pytest

from system import cluster
from system.errors import UserError
from tests.commands import run

TWO = {"worker": ["a:1", "b:2"]}


def read(tasks, kind="worker", index=0):
    return cluster.read({"TF_CONFIG": json.dumps({"cluster": tasks, "task": {"type": kind, "index": index}})})


def test_workers_are_counted_from_the_chief():
    assert read(TWO) == cluster.Cluster(2, 0, "a:1")
    assert read(TWO, index=1) == cluster.Cluster(2, 1, "b:2")
    with_chief = {"worker": ["a:1", "b:2"], "chief": ["host-1.example:65535"]}
    assert read(with_chief, "chief") == cluster.Cluster(3, 0, "host-1.example:65535")
    assert read(with_chief, "worker", 1) == cluster.Cluster(3, 2, "b:2")
    assert read({"worker": ["[::1]:7", "127.0.0.1:7"]}) == cluster.Cluster(2, 0, "[::1]:7")


@pytest.mark.parametrize("environment", [{}, {"TF_CONFIG": ""}, {"TF_CONFIG": " \n"}])
def test_without_the_variable_there_is_no_cluster(environment):
    assert cluster.read(environment) is None


def test_one_worker_needs_no_other():
    assert read({"worker": ["a:1"]}) is None
    assert read({"chief": ["a:1"]}, "chief") is None


BAD = {
    "not JSON": ("{cluster", "Expecting property name"),
    "nested without end": ("[" * 100_000, "nested too deeply"),
    "no table": ("[]", "there is no cluster in it"),
    "no cluster": ({"task": {"type": "worker", "index": 0}}, "there is no cluster in it"),
    "empty cluster": ({"cluster": {}, "task": {"type": "worker", "index": 0}}, "there is no cluster in it"),
    "no task": ({"cluster": TWO}, "there is no task in it"),
    "parameter servers": ((TWO | {"ps": ["c:3"]}, "worker", 0), 'tasks of type "ps"'),
    "an evaluator": ((TWO, "evaluator", 0), 'its task is of type "evaluator"'),
    "a type that is none": ((TWO, ["worker"], 0), 'its task is of type ["worker"]'),
    "no chief": ((TWO, "chief", 0), "there is no chief of index 0"),
    "index outside": ((TWO, "worker", 2), "there is no worker of index 2"),
    "index below": ((TWO, "worker", -1), "there is no worker of index -1"),
    "index as text": ((TWO, "worker", "1"), 'there is no worker of index "1"'),
    "index true": ((TWO, "worker", True), "there is no worker of index true"),
    "two chiefs": ((TWO | {"chief": ["c:3", "d:4"]}, "worker", 0), "there are two chiefs"),
    "an address twice": (({"worker": ["a:1", "a:1"]}, "worker", 0), "two tasks at one address"),
    "no port": (({"worker": ["a:1", "b"]}, "worker", 0), "no list of addresses host:port"),
    "a port beyond": (({"worker": ["a:1", "b:65536"]}, "worker", 0), "no list of addresses host:port"),
    "a number": (({"worker": ["a:1", 5]}, "worker", 0), "no list of addresses host:port"),
    "an address alone": (({"worker": "a:1"}, "worker", 0), "no list of addresses host:port"),
}


@pytest.mark.parametrize("value, reason", BAD.values(), ids=BAD)
def test_anything_else_is_refused(value, reason):
    if isinstance(value, tuple):
        tasks, kind, index = value
        value = {"cluster": tasks, "task": {"type": kind, "index": index}}
    text = value if isinstance(value, str) else json.dumps(value)
    with pytest.raises(UserError) as error:
        cluster.read({"TF_CONFIG": text})
    assert str(error.value).startswith("TF_CONFIG is not that of a worker (") and reason in str(error.value)


def test_training_refuses_it_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"ps": ["a:1"]}, "task": {"type": "ps", "index": 0}}')
    told = run("run_s2vt.py", "--dataset", "MSR-VTT", "--train", cwd=tmp_path, status=2)
    assert told.startswith("run_s2vt.py: error: TF_CONFIG is not that of a worker (") and len(told.splitlines()) == 1
    assert not list(tmp_path.iterdir())
