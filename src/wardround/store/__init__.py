"""Durable state: one SQL database, a folder of blobs, and the journal's leaves.

SQLite (WAL, synchronous FULL) is embedded; every change that must survive a crash is one
transaction here, written before anything is sent.
"""

from wardround.store.blobs import Blobs
from wardround.store.database import Database
from wardround.store.leaves import SqlLeafStore, leaf_table

__all__ = ["Blobs", "Database", "SqlLeafStore", "leaf_table"]
