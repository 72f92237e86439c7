"""``python -m wardround`` is ``wardround``."""

import sys

from wardround.cli import main

sys.exit(main())
