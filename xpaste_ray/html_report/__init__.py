"""`xpaste report`: one HTML file, and a JSON beside it, that tell what a run or a dataset is.

`given` finds what there is and opens it once. `sections` lists who tells of what: each builder looks whether
its files are there, and returns a `blocks.Section` of plain data, or None. `page` and `charts` draw that
data; what they draw is what the JSON holds. Columns are read whole, pixels only of the few pictures that are
shown, which are drawn by key: the same files give the same bytes.
"""
