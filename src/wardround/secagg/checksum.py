"""Two more ring elements in every contribution, by which garbage in a total is found.

A contribution x is masked together with two *lanes*: the plain sum of its elements, and their sum
weighted by pseudo-random ring elements r_j, which anybody can derive from public facts. Both are
linear, so the lanes of a total are the total of the lanes, and say nothing that the total itself
does not, as long as they are computed over all that is in it, noise included. (Odd weights alone
would find one wrong element, too, but no even number of flipped top bits, ever; 2 r_j + 1 is the
plain sum and twice the weighted one.)

Let e be what was added to the honest total by a fault that knows nothing of r, and 2^v the largest
power of two that divides all of e. It passes both lanes

- never, if one element is wrong, be it of the data or a lane;
- with probability at most 2^-(ring_bits - v) otherwise: 2^-ring_bits once one error is odd, and 1/2
  if an even number of top bits and nothing else was flipped (the bounds of a total find most such);
- with probability 2^-(2 ring_bits), if it is as random as masks that don't cancel.

What it can't find is a lie: a site that computes the lanes of what it made up, or a coordinator
that adds something with its lanes. Both know r. The weighted lane is the inner-product hash of
Carter and Wegman 1979, over a ring instead of a field.
"""

from __future__ import annotations

import numpy as np

from wardround.ids import Digest, RunId
from wardround.secagg.encoding import RingArray
from wardround.secagg.expand import Keystream
from wardround.trust.canonical import digest_json

LANES = 2
"""Ring elements that follow the data of a contribution."""

_CHUNK_BYTES = 256 * 1024
"""Worked on at a time, so that values, weights and products stay in a core's own cache."""


class Checksum:
    """The lanes of one step of a run. One thread at a time."""

    def __init__(self, study: Digest, run: RunId, step: int, task: Digest) -> None:
        name = digest_json(
            {"for": "wardround checksum v1", "study": study, "run": run, "step": step, "task": task}
        )
        self._weights = Keystream(bytes.fromhex(name.removeprefix("sha256:")))

    def lanes(self, values: RingArray, offset_elements: int = 0) -> RingArray:
        """The lanes, shape ``(LANES,)``, of elements ``offset_elements`` onwards of a vector.

        Those of its parts add up to those of the whole.
        """
        width, dtype = values.itemsize, values.dtype
        found = np.zeros(LANES, dtype)
        step = _CHUNK_BYTES // width
        scratch_bytes = memoryview(bytearray(min(_CHUNK_BYTES, values.nbytes)))
        scratch = np.frombuffer(scratch_bytes, f"<u{width}")
        for start in range(0, len(values), step):
            chunk = values[start : start + step]
            weights = scratch[: len(chunk)]
            self._weights.read_into(
                scratch_bytes[: chunk.nbytes], (offset_elements + start) * width
            )
            np.multiply(chunk, weights, out=weights)
            plain, weighted = (np.add.reduce(one, dtype=dtype) for one in (chunk, weights))
            found += np.array([plain, weighted], dtype)
        return found

    def seal(self, contribution: RingArray) -> None:
        """Write the lanes of the elements before them into the last ``LANES`` elements."""
        contribution[-LANES:] = self.lanes(contribution[:-LANES])
