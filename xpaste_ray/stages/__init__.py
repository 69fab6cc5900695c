"""Stages: thin callables on plain records. They run the same with Ray and without.

A stage catches its own errors row by row: what fails becomes a rejected record with a reason, and
its neighbours go on. Only a lost GPU (`DeviceLost`) and a wrong option (`ConfigError`) come out.
Import each from its own module: some load torch, some must not.
"""
