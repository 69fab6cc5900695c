"""Where work runs: the only place, beside `serve`, that knows Ray."""
