"""Columnar sources: SQL, OMOP, CSV, Parquet and Excel, all seen as one kind of table.

A table hands over named columns in batches, typed and stripped, with what is missing marked; it
knows nothing of meaning, which is the mapping's.
"""

from wardround.clinical.tables.csv_files import csv_table
from wardround.clinical.tables.excel_files import excel_table
from wardround.clinical.tables.omop import Omop, OmopCode, omop_tables
from wardround.clinical.tables.omop_domains import OmopDomain
from wardround.clinical.tables.parquet_files import parquet_table
from wardround.clinical.tables.sql import catalogue, sql_table
from wardround.clinical.tables.sql_backend import CatalogueEntry
from wardround.clinical.tables.table import (
    BATCH_ROWS,
    Batch,
    Column,
    ColumnarRead,
    ColumnInfo,
    ColumnKind,
    Table,
)

__all__ = [
    "BATCH_ROWS",
    "Batch",
    "CatalogueEntry",
    "Column",
    "ColumnInfo",
    "ColumnKind",
    "ColumnarRead",
    "Omop",
    "OmopCode",
    "OmopDomain",
    "Table",
    "catalogue",
    "csv_table",
    "excel_table",
    "omop_tables",
    "parquet_table",
    "sql_table",
]
