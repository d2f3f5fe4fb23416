"""`python -m s2s_plugin` prints this folder, for `--user-dir "$(python -m s2s_plugin)"`; command.py has `translate`."""

import os
import sys

if len(sys.argv) == 1:
    print(os.path.dirname(os.path.abspath(__file__)))
elif sys.argv[1] == "translate":
    from .command import main

    sys.exit(main(sys.argv[2:]))
else:
    sys.exit(f"error: unknown command {sys.argv[1]}; the commands are: translate")
