import pytest

from studies import clinical, document, policy, private
from wardround import WardroundError
from wardround.study import (
    POLICY_PROTECTIONS,
    PROMISES,
    Profile,
    Protection,
    Study,
    missing,
    refuse_if_incomplete,
)


def test_every_profile_says_what_it_promises_and_what_it_does_not():
    assert set(PROMISES) == set(Profile)
    assert all(promise.protections and promise.caveats for promise in PROMISES.values())
    assert "No differential privacy" in PROMISES[Profile.SECURE_SUM].caveats[0]


def test_each_stricter_profile_keeps_what_the_others_keep():
    sums, noisy, whole = (PROMISES[profile].protections for profile in Profile)
    assert sums - {Protection.DISCLOSURE_RULES} < noisy < whole
    assert Protection.NOISE in noisy  # in the place of rules by which a refusal tells a count


def test_clinical_covers_every_property_of_the_policy():
    properties = {name for table in policy().values() for name in table}
    assert set(POLICY_PROTECTIONS) == properties
    assert set(POLICY_PROTECTIONS.values()) <= PROMISES[Profile.CLINICAL].protections


def test_secure_sum_is_complete():
    assert missing(Profile.SECURE_SUM) == ()
    refuse_if_incomplete(Study.parse(document()))


def test_private_is_complete():
    assert missing(Profile.PRIVATE) == ()
    refuse_if_incomplete(Study.parse(private()))


def test_an_incomplete_profile_is_refused_naming_all_that_is_missing():
    with pytest.raises(WardroundError) as refused:
        refuse_if_incomplete(Study.parse(clinical()))
    assert refused.value.code == "WR-STUDY-050"
    lacking = missing(Profile.CLINICAL)
    assert lacking
    for item in Protection:
        assert (item.words in refused.value.problem) == (item in lacking)


def test_the_noise_profiles_need_what_the_design_names():
    needed = {Protection.ACCOUNTANT, Protection.NOISE, Protection.LEDGER}
    assert needed <= PROMISES[Profile.PRIVATE].protections
    needed = {Protection.ATTESTATION, Protection.PAILLIER, Protection.FHIR_INGESTION}
    assert needed <= set(missing(Profile.CLINICAL))
