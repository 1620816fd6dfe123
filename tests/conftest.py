"""Hypothesis profiles, and one seed for everything that a test run leaves to chance."""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import HealthCheck, settings

# Slow machines are no fault of the code, and a deadline would make tests fail on them by chance.
settings.register_profile("dev", max_examples=100, deadline=None, print_blob=True)
settings.register_profile(
    "ci",
    settings.get_profile("dev"),
    max_examples=200,
    database=None,
    derandomize=False,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("full", settings.get_profile("ci"), max_examples=5000)

PROFILE_VARIABLE = "REFOLD_TEST_PROFILE"
SEED_VARIABLE = "REFOLD_TEST_SEED"


# First, since the plugin of Hypothesis reads its option in its own hook.
@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Load the profile and fix the seed, which a test may read from its variable."""
    profile = os.environ.setdefault(PROFILE_VARIABLE, "dev")
    if profile not in ("dev", "ci", "full"):
        raise pytest.UsageError(f"{PROFILE_VARIABLE} is {profile!r}, not dev, ci or full")
    settings.load_profile(profile)
    seed = os.environ.setdefault(SEED_VARIABLE, str(random.SystemRandom().randrange(2**32)))
    if not seed.isascii() or not seed.isdigit():
        raise pytest.UsageError(f"{SEED_VARIABLE} is {seed!r}, not a whole number")
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = seed


def pytest_report_header() -> str:
    """Say how to have the same run again."""
    return (
        f"refold: {PROFILE_VARIABLE}={os.environ[PROFILE_VARIABLE]} "
        f"{SEED_VARIABLE}={os.environ[SEED_VARIABLE]}"
    )


@pytest.fixture
def seed() -> int:
    """The number that this run's random choices follow from."""
    return int(os.environ[SEED_VARIABLE])
