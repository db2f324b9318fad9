"""The engine `ray`: the same sweep on a Ray cluster, by workers that each hold the model on a GPU or a share of CPUs.

Small batches go to whichever worker is free, so that fast ones take work off slow ones. This process alone draws the
trials and writes into the store; a lost worker's tasks are done again by another. Nothing is scheduled here: where
workers run and when they find room is Ray's to say.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
import socket
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isi_core.domain.errors import Cancelled, InputError, ModelError, first_line
from isi_core.models import memory
from isi_core.models.catalogue import FOLDER_VARIABLE, TYPED_VARIABLE, CatalogueRow, find_entailment, find_vlm
from isi_core.studies.sweep.asking import Failure, batch_size
from isi_core.studies.sweep.ray_worker import Worker, code_digest, pack, read_loaded, unpack
from isi_core.studies.sweep.run import Engine, LoadedModels, ModelPart, Task

_log = logging.getLogger(__name__)

AUTO, LOCAL = "auto", "local"
"""Addresses: the cluster that this machine belongs to; a Ray of this command's own on this machine."""
NOT_INSTALLED = "Ray is not installed here: run `pip install -r requirements-ray.txt`, or use the engine local."
MOST_WORKERS = 4096
LOSSES_IN_A_ROW = 6
"""So many losses for each worker, with nothing done in between, end a model's part."""
LOSSES_OF_ONE = 3
"""An evaluation at which so many workers were lost, though it was asked alone, is given up as failed."""
OBJECT_STORE = 200_000_000
"""Bytes of shared memory of a Ray of our own: a few batches of pictures."""
_POLL = 0.2  # seconds
_PATIENCE = 5.0  # seconds that an address has to answer
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):(\d{1,5})")
_PROCESS_BYTES = 1 << 30
"""What a worker's process takes beside its model."""


@dataclass(frozen=True)
class Cluster:
    """Which Ray, and how many workers on it.

    Attributes
    ----------
    address : `auto`, `local`, or HOST:PORT of a cluster that this machine belongs to.
    workers : None for one a GPU, or one a CPU where there is no GPU.
    """

    address: str = AUTO
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.address not in (AUTO, LOCAL) and _host_and_port(self.address) is None:
            raise InputError(f"{self.address[:60]!r} is no address of a Ray cluster: give auto, local or HOST:PORT.")
        if self.workers is not None and not 1 <= self.workers <= MOST_WORKERS:
            raise InputError(f"A sweep takes 1 to {MOST_WORKERS:,} workers.")


@dataclass(frozen=True)
class Share:
    """What each worker asks Ray for."""

    cpus: float
    gpus: float
    bytes: int

    def __str__(self) -> str:
        gpus = f"{self.gpus:g} GPU, " if self.gpus else ""
        return f"{gpus}{self.cpus:g} CPU and {self.bytes / (1 << 30):.1f} GB of memory"


def is_installed() -> bool:
    """The optional requirement is there."""
    return importlib.util.find_spec("ray") is not None


def ray_engine(cluster: Cluster) -> Engine:
    """Does a model's part of a sweep on a Ray cluster.

    Raises
    ------
    InputError : Ray is not installed.
    """
    if not is_installed():
        raise InputError(NOT_INSTALLED)

    def do(part: ModelPart) -> None:
        if part.left:
            with _connected(cluster, part) as ray:
                _Crew(ray, part, cluster.workers).work()

    return do


def share_of(nodes: Sequence[tuple[float, float]], workers: int | None, need: int) -> tuple[int, Share]:
    """How many workers, and what each asks for.

    Parameters
    ----------
    nodes : (CPUs, GPUs) of each machine.
    workers : how many are wanted; None for one a GPU, or one a CPU where there is no GPU.
    need : bytes of the model; they are asked for where it lies in the machine's own memory.
    """
    cpus, gpus = sum(n[0] for n in nodes), sum(n[1] for n in nodes)
    count = workers or max(1, int(gpus or cpus))
    part_of_one = max(0.01, int(100 * cpus / count) / 100)
    if gpus:  # more workers than GPUs wait until a machine with free ones has joined
        beside = min(int(n[0] / n[1]) for n in nodes if n[1])
        return count, Share(float(beside) or min(1.0, part_of_one), 1.0, 0)
    # The largest whole share of which all workers fit on the machines, else a part of a CPU.
    for share in range(int(max(n[0] for n in nodes)), 0, -1):
        if sum(int(n[0]) // share for n in nodes) >= count:
            return count, Share(float(share), 0.0, need)
    return count, Share(part_of_one, 0.0, need)


class _Crew:
    """The workers on one model's part of a sweep."""

    def __init__(self, ray: Any, part: ModelPart, workers: int | None) -> None:
        self._ray, self._part = ray, part
        choice = part.choice
        need = _PROCESS_BYTES + _need(choice.name, choice.quantization)
        self._job = json.dumps(
            {
                "code": code_digest(),
                "model": _found_by(choice.name, find_vlm),
                "quantization": choice.quantization,
                "entailment": part.entailment_name and _found_by(part.entailment_name, find_entailment),
                "decoding": part.plan.decoding.to_json(),
                "measures": part.plan.measures,
                "settings": part.plan.settings.to_json(),
            }
        )
        nodes = [(n["Resources"].get("CPU", 0.0), n["Resources"].get("GPU", 0.0)) for n in ray.nodes() if n["Alive"]]
        count, self._share = share_of(nodes, workers, need)
        self._wanted = min(count, part.left)
        self._loading: dict[Any, Any] = {}  # reference to what a worker will say, worker
        self._asked: dict[Any, tuple[Any, list[Task]]] = {}
        self._idle: list[Any] = []
        self._ready: deque[list[Task]] = deque()  # drawn beforehand, so that no worker waits for it
        self._again: deque[list[Task]] = deque()  # a lost worker's, each alone
        self._lost: dict[str, int] = {}  # item's key, workers lost at it
        self._losses = 0
        self._loaded: LoadedModels | None = None
        self._refused = ""
        self._size = 1

    def work(self) -> None:
        """Do the part.

        Raises
        ------
        Cancelled : somebody asked for it. What workers were at is finished before a pause, and dropped otherwise.
        ModelError : no worker could load the model, all were lost, or it failed too often in a row.
        InputError : the store cannot be written.
        """
        try:
            for _ in range(self._wanted):
                self._hire()
            while self._part.left or self._ready or self._again or self._asked:
                stopping = self._part.stopping
                if stopping and not self._asked:
                    self._part.look()
                if not stopping:
                    self._hand_out()
                if not (self._loading or self._asked or self._idle):
                    raise ModelError(self._refused or self._all_lost())
                self._receive(0.0 if self._draw_ahead(stopping) else _POLL)
                self._tell()
        finally:
            for worker in [*self._loading.values(), *(w for w, _ in self._asked.values()), *self._idle]:
                with suppress(Exception):  # the cluster itself may be gone
                    self._ray.kill(worker)

    def _tell(self) -> None:
        if self._asked:
            self._part.progress_of(1)("", 0.0)
        elif self._loading:
            self._part.waiting(f"Waiting for the cluster: each worker takes {self._share}", 0.0)

    def _hire(self) -> None:
        options: dict[str, Any] = {
            "num_cpus": self._share.cpus,
            "num_gpus": self._share.gpus,
            "scheduling_strategy": "SPREAD",
        }
        if self._share.bytes:
            options["memory"] = self._share.bytes
        worker = self._ray.remote(Worker).options(**options).remote()
        self._loading[worker.load.remote(self._job)] = worker

    def _hand_out(self) -> None:
        while self._idle and (tasks := self._next()):
            worker = self._idle.pop()
            self._asked[worker.ask.remote(*pack(tasks))] = worker, tasks

    def _next(self) -> list[Task]:
        """The next batch; empty where there is none."""
        for waiting in (self._again, self._ready):
            if waiting:
                return waiting.popleft()
        return self._drawn()

    def _drawn(self) -> list[Task]:
        """A batch of what was not taken yet; what needs no worker is stored on the way."""
        while self._part.left and self._loaded is not None and not self._part.stopping:
            # Towards the end batches become smaller, so that no worker is left with the last large one.
            fair = -(-self._part.left // (2 * max(1, self._wanted)))
            if tasks := self._part.take(min(self._size, fair), self._loaded):
                return tasks
        return []

    def _draw_ahead(self, stopping: bool) -> bool:
        """Draw a batch while the workers are busy; whether there was one to be drawn."""
        if stopping or self._idle or len(self._ready) >= len(self._asked) or not (tasks := self._drawn()):
            return False
        self._ready.append(tasks)
        return True

    def _receive(self, seconds: float) -> None:
        waiting = [*self._asked, *self._loading]
        if not waiting:
            return
        done, _ = self._ray.wait(waiting, num_returns=len(waiting) if seconds == 0 else 1, timeout=seconds)
        for reference in done:
            if reference in self._loading:
                self._arrived(reference)
            else:
                self._answered(reference)

    def _arrived(self, reference: Any) -> None:
        """A worker has loaded its model, or could not."""
        worker = self._loading.pop(reference)
        try:
            loaded = read_loaded(self._ray.get(reference))
            self._part.check_models(loaded)
        except ModelError as error:
            self._refused = str(error)
            _log.warning("%s", error)
            self._ray.kill(worker)
        except self._ray.exceptions.RayTaskError as error:
            self._refused = f"A worker could not be started: {first_line(error.cause or error)}."
            self._ray.kill(worker)
        except self._ray.exceptions.RayError as error:
            self._lose(worker, error)
        else:
            self._loaded = self._loaded or loaded
            self._idle.append(worker)

    def _answered(self, reference: Any) -> None:
        """A worker has done a batch, or was lost at it."""
        worker, tasks = self._asked.pop(reference)
        try:
            outcomes = unpack(self._ray.get(reference), tasks)
        except (self._ray.exceptions.RayTaskError, InputError) as error:  # it lives: the batch is at fault
            sentence = f"Something went wrong on a worker: {first_line(getattr(error, 'cause', None) or error)[:200]}"
            self._idle.append(worker)
            for task in tasks:
                self._part.store(task, Failure(sentence, of_model=True), 0.0)
            return
        except self._ray.exceptions.RayError as error:
            self._do_again(tasks)
            self._lose(worker, error)
            return
        self._idle.append(worker)
        self._losses = 0
        # The sweep's rate is that of all workers together, so each evaluation counts with its share of the time.
        working = max(1, len(self._asked) + len(self._idle))
        for outcome in outcomes:
            self._part.store(tasks[outcome.place], outcome.made, outcome.seconds / working)
        self._size = batch_size(sum(outcome.seconds for outcome in outcomes) / max(1, len(outcomes)))

    def _do_again(self, tasks: list[Task]) -> None:
        for task in tasks:
            key = task.item.key
            # In a batch any of its evaluations may have been at fault: that does not count against this one.
            self._lost[key] = self._lost.get(key, 0) + (len(tasks) == 1)
            if self._lost[key] < LOSSES_OF_ONE:
                self._again.append([task])
                continue
            sentence = f"The worker was lost {LOSSES_OF_ONE} times at this evaluation: it may take too much memory."
            self._losses = 0
            self._part.store(task, Failure(sentence, of_model=True), 0.0)

    def _lose(self, worker: Any, error: Exception) -> None:
        """Give up a worker, and ask for another in its place."""
        self._ray.kill(worker)
        self._losses += 1
        if "No module named" in str(error):
            self._refused = (
                "A machine of the cluster has no ISI Studio where Ray runs: put this checkout at the same path there, "
                "and start Ray from its environment."
            )
        elif self._losses < LOSSES_IN_A_ROW * self._wanted:
            self._hire()
        else:
            self._refused = f"{self._all_lost()} The last one said: {first_line(error)[:200]}."
        if self._refused:
            _log.warning("%s", self._refused)

    def _all_lost(self) -> str:
        return "The cluster's workers were lost one after the other: see the logs that Ray keeps on its machines."


def _found_by(name: str, find: Callable[[str], CatalogueRow]) -> str:
    """What finds a model on the cluster's machines: a folder's whole path, else the name as it is.

    Raises
    ------
    ModelError : there is no such model.
    """
    if Path(name).expanduser().is_absolute():  # it may lie on those machines alone
        return str(Path(name).expanduser())
    row = find(name)
    return str(row.source) if isinstance(row.source, Path) and not row.embedded else name


def _need(name: str, quantization: str) -> int:
    """Bytes that a model takes; 0 where nothing is known of it here."""
    try:
        row = find_vlm(name)
        return 0 if row.endpoint is not None else memory.memory_need(row, quantization)
    except ModelError:
        return 0


@contextmanager
def _connected(cluster: Cluster, part: ModelPart) -> Iterator[Any]:
    """Ray, connected until the block ends; one that was connected before stays so.

    Raises
    ------
    ModelError : no cluster answers at the address.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # it connects nowhere but where it is told to
    import ray

    if ray.is_initialized():
        yield ray
        return
    part.waiting("Connecting to Ray", 0.0)
    try:
        ray.init(**_options(cluster))
    except Cancelled:
        raise
    except Exception as error:
        raise ModelError(
            f"No Ray cluster could be joined at {cluster.address} ({first_line(error)[:200]}): start one there, and "
            "see that its token and the versions of Ray and Python are the same here."
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _options(cluster: Cluster) -> dict[str, Any]:
    root = Path(__file__).resolve().parents[3]
    variables = {
        # Where a machine has the checkout elsewhere, whoever started Ray there has said so in this variable.
        "PYTHONPATH": f"{root}:${{PYTHONPATH}}",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        **{name: os.environ[name] for name in (TYPED_VARIABLE, FOLDER_VARIABLE) if name in os.environ},
    }
    options: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": "CRITICAL",
        "runtime_env": {"env_vars": variables},
    }
    if cluster.address == LOCAL:
        folder = Path(tempfile.gettempdir()) / f"isi-ray-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
        # Its sockets' paths must not be long: where they would be, Ray's own folder is taken.
        own = {"_temp_dir": str(folder)} if len(str(folder)) <= 40 else {}
        return {
            **options,
            **own,
            "address": LOCAL,
            "num_cpus": max(cluster.workers or 0, os.cpu_count() or 1),
            "object_store_memory": OBJECT_STORE,
            "include_dashboard": False,
        }
    _refuse_silence(cluster.address)
    return {**options, "address": cluster.address}


def _refuse_silence(address: str) -> None:
    """Ask at an address whether anybody is there: Ray itself would try for minutes and then end the process.

    Raises
    ------
    ModelError : nobody is.
    """
    known = os.environ.get("RAY_ADDRESS", "") if address == AUTO else address
    if (found := _host_and_port(known)) is None:
        return
    try:
        socket.create_connection(found, _PATIENCE).close()
    except OSError as error:
        raise ModelError(
            f"No Ray cluster answers at {known} ({first_line(error)}): start one with `ray start --head`, or give the "
            "address that it printed."
        ) from None


def _host_and_port(address: str) -> tuple[str, int] | None:
    found = _ADDRESS.fullmatch(address)
    if found is None or not 0 < int(found[2]) < 65536:
        return None
    return found[1].strip("[]"), int(found[2])
