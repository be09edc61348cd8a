"""Contestants that run in turns, each in a process of its own.

A machine is now faster, now slower, for seconds at a time, so contestants are timed in interleaved turns, not one after the other. Each
has a process of its own, so that it holds one engine and no more; the others sleep during a turn.

A contestant is a context manager (usually a generator under ``contextlib.contextmanager``) that prepares everything, and yields
{order: function}. It must be importable by name, and it imports its engine itself. ``Worker`` starts it in a new process.

Importing this removes the variables that choose OpenBLAS's kernels; processes started afterwards do not have them.
"""

import contextlib
import multiprocessing
import os
import sys
import time

KERNEL_VARIABLES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
CORES = len(os.sched_getaffinity(0))
PAUSE = 0.2             # seconds before each turn; OpenBLAS keeps the threads of the turn before awake for 0.1
END = "end"

for _name in KERNEL_VARIABLES:
    os.environ.pop(_name, None)


def use_all_cores():
    """Let every process started from here on run on as many threads as there are cores, whatever the shell's variables ask for."""
    for name in THREAD_VARIABLES:
        os.environ.pop(name, None)
    os.environ["MINICNN_NUM_THREADS"] = str(CORES)


class Worker:
    """A process that holds one contestant and answers orders.

    Args:
        name: for messages.
        contestant: function returning a context manager that yields {order: function}.
        arguments: the contestant's.
    """

    def __init__(self, name, contestant, *arguments):
        self.name = name
        context = multiprocessing.get_context("spawn")
        self.pipe, far = context.Pipe()
        self.process = context.Process(target=serve, args=(contestant, arguments, far), daemon=True)
        self.process.start()
        far.close()                             # so that the end of the process is noticed
        self.receive()

    def ask(self, order, *arguments):
        """What the contestant's function for this order returns."""
        with contextlib.suppress(OSError):      # a process that has ended is reported by receive
            self.pipe.send((order, arguments))
        return self.receive()

    def receive(self):
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            sys.exit(f"{self.name}: its process has ended; its message is above")

    def end(self):
        """Let the process end, and wait for it."""
        with contextlib.suppress(OSError):
            self.pipe.send((END, ()))
        self.process.join()


def serve(contestant, arguments, pipe):
    """The process of a ``Worker``: prepare the contestant, then answer orders."""
    with contestant(*arguments) as answers:
        pipe.send("ready")
        while (request := pipe.recv())[0] != END:
            order, given = request
            pipe.send(answers[order](*given))


def start(contestants):
    """Start contestants one after the other, so that none is disturbed while it prepares.

    Args:
        contestants: {name: (contestant, *arguments)}.

    Returns:
        workers: {name: Worker}.
    """
    return {name: Worker(name, *contestant) for name, contestant in contestants.items()}


def ask_all(workers, order, *arguments):
    """{name: answer} of every worker, one after the other."""
    return {name: worker.ask(order, *arguments) for name, worker in workers.items()}


def turn(workers, order, *arguments):
    """Like ``ask_all``, with a pause before each, so that the threads of the one before are asleep."""
    answers = {}
    for name, worker in workers.items():
        time.sleep(PAUSE)
        answers[name] = worker.ask(order, *arguments)
    return answers


def interleaved(workers, turns, label, order="time", *arguments):
    """Run turns of all workers, and show progress on standard error.

    Returns:
        answers: {name: list with an answer of each turn}.
    """
    answers = {name: [] for name in workers}
    for number in range(1, turns + 1):
        for name, answer in turn(workers, order, *arguments).items():
            answers[name].append(answer)
        print(f"{label}: turn {number} of {turns}", file=sys.stderr)
    return answers


def end_all(workers):
    """Let all processes end."""
    for worker in workers.values():
        worker.end()


def alone(function, *arguments, **variables):
    """The result of one call in a new process.

    Args:
        function: importable by name.
        arguments: its own.
        variables: environment variables of the process, beside this one's.
    """
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        worker = Worker(function.__name__, call_only, function)
    finally:
        os.environ.clear()
        os.environ.update(before)
    answer = worker.ask("call", *arguments)
    worker.end()
    return answer


@contextlib.contextmanager
def call_only(function):
    """The contestant of ``alone``."""
    yield {"call": function}


def timed(run, seconds=0.0, settle=0.0):
    """A function that times ``run`` in one turn.

    Args:
        run: function without arguments, called once here so that nothing is compiled during a turn.
        seconds: a turn takes about as long, so a short ``run`` is repeated in it.
        settle: seconds of untimed calls that a turn begins with; a virtual machine spreads its cores only when both have work.

    Returns:
        measure: () -> seconds of one call of ``run``.
    """
    run()
    start = time.perf_counter()
    run()
    times = max(1, round(seconds / (time.perf_counter() - start)))

    def measure():
        start = time.perf_counter()
        while time.perf_counter() - start < settle:
            run()
        start = time.perf_counter()
        for _ in range(times):
            run()
        return (time.perf_counter() - start) / times
    return measure
