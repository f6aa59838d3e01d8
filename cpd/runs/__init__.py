"""Runs: work that outlives a page, a tab, the app and its own process.

A run is a folder (specification, lock, log, checkpoints, artefacts) and a row of one SQLite file.

    workspace.py   the folder that holds everything, and names that are safe as paths
    files.py       files that are either whole or not there; disk errors in words
    project.py     a model, its data and device under one name
    spec.py        what a run does
    likeness.py    what a run like another would do
    sound.py       whether a training can be at all, asked before it is queued
    command_line.py  the line that does a run again
    store.py       all of the store: a Store is States and a Journal over one Connection
    connection.py  one SQLite file that many processes share
    states.py      the life of a run
    journal.py     metrics and events
    envelope.py    peaks of a metric in buckets of steps
    rows.py        what the store gives back
    lock.py        a file lock that the kernel frees on any death
    checkpoint.py  tensors and JSON that survive a kill at any moment
    context.py     what a job is given: log, save, load, should_stop
    failure.py     any exception as one plain sentence
    standing.py    how a run stands, in a sentence
    worker.py      the process that does one run:    python -m cpd.runs.worker RUN_DIR
    supervisor.py  the process that starts workers:  python -m cpd.runs.supervisor ROOT
    launcher.py    how a worker is started
    policy.py      which of the waiting runs may start
    spread.py      and where, when there are several machines
    crew.py        several processes that share one run, by torchrun; follower.py: all of them but the first
    shared_run.py  such a run from the command line
    ray_launcher.py, ray_agent.py     workers on the nodes of a Ray cluster
    relay.py       the store of a worker on another machine: lines that the supervisor carries out
    leash.py       a worker that must not outlive who started it
    memory.py      what becomes of a run that ran out of memory
    control.py     submit, pause, resume, stop, move, clone, roll back
    jobs/          one file a kind of run

Nothing here imports torch before a job runs: the app reads the store and starts processes, no more.
"""
