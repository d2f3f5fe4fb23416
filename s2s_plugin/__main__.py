"""`python -m s2s_plugin` prints this folder, for `--user-dir "$(python -m s2s_plugin)"`."""

import os

print(os.path.dirname(os.path.abspath(__file__)))
