"""What all tests share: how many examples hypothesis draws (HYPOTHESIS_PROFILE=slow for many)."""

from __future__ import annotations

import os

from hypothesis import settings

# No deadlines: a shared machine is slow at times, and no test here is about speed.
settings.register_profile("ci", max_examples=50, deadline=None)
settings.register_profile("slow", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
