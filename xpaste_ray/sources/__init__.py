"""Where images come from: what each kind of source can give for a category, as prompts.

The driver's side only: nothing is generated, fetched or decoded here; `stages` do that.
"""
