"""`python -m s2s_plugin` prints this folder, for `--user-dir "$(python -m s2s_plugin)"`; a word more is a command."""

import os
import sys

if len(sys.argv) == 1:
    print(os.path.dirname(os.path.abspath(__file__)))
else:
    from .command import main

    sys.exit(main(sys.argv[1], sys.argv[2:]))
