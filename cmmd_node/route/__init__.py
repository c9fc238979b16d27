"""The route of a study: the only place that knows all steps.

Durable workflows, a module each: `study` takes one round of a study through settle, analyse and write; `delivery`
brings its results to one peer; `commitment` answers a peer that asked for storage commitment; `priors` fetches earlier
mammograms of its patient. Each step stores its outcome in the index, so that a step that runs twice after a crash
leaves what one run would have left.

`analysis` is what a study goes through without network and index, for files too.
"""
