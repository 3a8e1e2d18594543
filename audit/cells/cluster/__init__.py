"""Cells on a cluster: by the workers of Dask (`distributed`), on this machine or on others.

Nothing here is imported unless a run asks for it. `by_name` and `order` need no Dask, `host` runs on its workers.
"""
