"""Dataset formats: how composed samples are written for trainers, converted and checked.

A dataset's folder holds `fragments/` (the samples as data, a file a shard), `dataset.json` (what the
dataset is) and, beside them, the files of its formats: one format at the root, several each in a
folder of its own. `dataset` writes them, `convert` goes from one to another, `validate` checks them.
"""
