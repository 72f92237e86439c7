"""A hospital's agent: it computes beside the records and lets only protected sums out.

Everything that leaves passes ``door.py``, is sent by ``link.py`` and is written into the
hospital's own journal. The agent acts on what the steward has signed and on nothing that the
coordinator merely says.
"""
