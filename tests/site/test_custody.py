"""What an agent hands to its worker: the study's columns, who is held out, and folds."""

import numpy as np

from studies import document
from wardround.clinical import split
from wardround.clinical.quarantine import Quarantine
from wardround.clinical.table import FeatureTable
from wardround.learning.records import FOLD_COLUMN, TEST_COLUMN
from wardround.site.custody import computable
from wardround.study import Study

IDS = tuple(f"p{number}" for number in range(60))
TABLE = FeatureTable(
    IDS,
    {
        name: np.random.default_rng(3).integers(0, 2, 60).astype(float)
        for name in ("radius_mean", "malignant", "reserved_for_testing", "diabetes")
    },
    (),
    Quarantine(),
)
DATA = {"outcome": "malignant", "features": ["radius_mean"]}


def study(model=None, **data):
    return Study.parse(document(data=DATA | data, model={"kind": "logistic", **(model or {})}))


def test_usually_a_hash_decides_and_there_are_no_folds():
    columns = computable(study(), TABLE)
    assert columns.keys() == {"radius_mean", "malignant", TEST_COLUMN}
    assert (columns[TEST_COLUMN] == split.test_mask(IDS, "breast-mass", 0.3)).all()


def test_a_concept_may_say_who_is_held_out():
    held_out = "reserved_for_testing"
    columns = computable(study(held_out=held_out, also_required=[held_out]), TABLE)
    assert columns.keys() == {"radius_mean", "malignant", TEST_COLUMN}
    assert (columns[TEST_COLUMN] == TABLE.columns[held_out]).all()


def test_a_grid_of_ridges_brings_folds():
    columns = computable(study({"ridge": [0.1, 1], "folds": 4}), TABLE)
    assert (columns[FOLD_COLUMN] == split.folds(IDS, "breast-mass", 4)).all()
