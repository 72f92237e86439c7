from wardround.trust.tokens import new_token, token_digest, token_matches


def test_a_token_is_known_by_its_digest_alone() -> None:
    token = new_token()
    stored = token_digest(token)
    assert token not in stored
    assert token_matches(token, stored)
    assert token_matches(f" {token}\n", stored)
    assert not token_matches(new_token(), stored)
    assert not token_matches(token[:-1], stored)
    assert not token_matches("", stored)


def test_tokens_are_long_and_never_repeat() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(token) >= 43 + len("wr-enrol-") for token in tokens)
