"""The coordinator: it asks, collects and adds up; it can open sums, and nothing else.

It is not trusted: sites check everything they act on against the study that they signed.
"""
