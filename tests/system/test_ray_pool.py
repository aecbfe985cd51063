"""A pool of actors: every item is answered, whoever dies; and what is said where Ray or a cluster is missing."""

import argparse
import os
import sys
from pathlib import Path

import pytest

from system import ray_pool
from system.errors import UserError
from tests.commands import run

THIS = "tests.system.test_ray_pool"


def connected(address, gpu=None):
    return ray_pool.connected(argparse.Namespace(ray=address, gpu=gpu))


# ---------------------------------------------------------------------------------------------- without Ray


def test_nothing_happens_without_the_flag(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with connected(None, gpu="0"):
        pass


@pytest.mark.parametrize("script", ["preprocessing.py", "evaluate_saliency.py"])
@pytest.mark.parametrize("address", [(), ("host0:6379",)])
def test_where_ray_is_not_installed_a_line_says_so(script, address, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not
    printed = run(script, "--dataset", "COCO", "--ray", *address, cwd=tmp_path, status=2)
    assert printed == f"{script}: error: --ray: Ray is not installed: pip install -e '.[ray]' installs it\n"


def test_which_gpu_is_for_ray_to_say():
    with pytest.raises(UserError, match="--gpu 1: with --ray each actor gets a GPU"), connected("auto", gpu="1"):
        pass


@pytest.mark.parametrize("address", ["host0", "host0:", ":6379", "host0:port", "ray://host0:10001"])
def test_an_address_has_a_host_and_a_port(address):
    with pytest.raises(UserError, match="write the address as HOST:PORT, or auto"):
        ray_pool._check_answers(address)


def test_where_no_cluster_answers_a_line_says_so(monkeypatch):
    monkeypatch.setattr(ray_pool, "PATIENCE", 0.2)
    with pytest.raises(UserError, match="no cluster answers there"):
        ray_pool._check_answers("127.0.0.1:1")


# ---------------------------------------------------------------------------------------------- with it


def doubling():
    return lambda items: [2 * item for item in items]


def mortal(folder):
    """A worker that dies of "poison" always, and of "once" the first time; else the process that did it."""

    def work(items):
        for item in items:
            if item == "poison" or (item == "once" and not Path(folder, "once").exists()):
                Path(folder, "once").touch()
                os._exit(1)
        return [os.getpid() for _ in items]

    return work


def refusing():
    raise UserError("no weights")


def refusing_work():
    def work(items):
        raise UserError(f"no room for {items[0]}")

    return work


def mistaken():
    return lambda items: 1 / 0


def stillborn():
    os._exit(1)


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("ray", reason="Ray is not installed: make test-ray")
    with connected(ray_pool.LOCAL):
        yield


def results(*factory, items=(), **options):
    with ray_pool.Pool(f"{THIS}:{factory[0]}", *factory[1:], **options) as pool:
        return list(pool.results(items))


@pytest.mark.slow
def test_every_item_is_answered_once(cluster):
    assert sorted(results("doubling", items=range(25), n_at_once=4)) == [(k, 2 * k) for k in range(25)]
    assert results("doubling") == []


@pytest.mark.slow
def test_items_are_taken_a_few_ahead(cluster):
    taken = []
    items = (taken.append(item) or item for item in range(1000))
    with ray_pool.Pool(f"{THIS}:doubling") as pool:
        next(pool.results(items))
        assert len(taken) <= ray_pool.AHEAD * len(pool._tasks)


@pytest.mark.slow
def test_only_what_kills_is_given_up(cluster, tmp_path):
    items = ["a", "b", "poison", "once", "c", "d"]
    found = dict(results("mortal", tmp_path, items=items, n_at_once=2))
    assert found.keys() == set(items)
    died = {item for item, result in found.items() if isinstance(result, ray_pool.Died)}
    assert died == {"poison"} and "3 processes died of it, the last one so: " in str(found["poison"])


@pytest.mark.slow
def test_errors_for_the_user_travel(cluster):
    with pytest.raises(UserError, match=r"^no weights$"):
        results("refusing", items=[1])
    with pytest.raises(UserError, match=r"^no room for 1$"):
        results("refusing_work", items=[1])


@pytest.mark.slow
def test_a_mistake_of_the_program_is_one(cluster):
    with pytest.raises(ZeroDivisionError):
        results("mistaken", items=[1])


@pytest.mark.slow
def test_where_no_actor_lives_a_line_says_so(cluster):
    with pytest.raises(UserError, match="no actor lives until it is built"):
        results("stillborn", items=[1])
