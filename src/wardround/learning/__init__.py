"""What is computed on a hospital's records, and what the sums of it mean.

`registry` is the one table of task kinds; each kind's module holds both halves of it: what a site
contributes, and how a total is read. The numerics are pure functions of numpy arrays. `specify`
builds tasks from the signed study, at both ends; `fit` is Newton's method as a state to advance.

Nothing is re-exported: the confined worker imports `registry`, and must not need more than numpy.
"""
