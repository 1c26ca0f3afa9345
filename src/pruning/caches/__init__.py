"""Key-value caches whose layers lose tokens.

Together too long for one file, so split by who asks: `names` (how transformers calls a cache),
`layer` (one layer, and dropping entries of it), `windows` (layers that forget what is far behind)
and `prefill` (all layers while a prompt is read).
"""
