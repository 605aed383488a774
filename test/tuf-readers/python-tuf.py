"""A reader of TUF repositories by python-tuf: `python-tuf.py METADATA-DIR METADATA-URL TARGET...` refreshes from the root in METADATA-DIR/root.json on, and
prints for each target its sha256, or "none", as a JSON list."""

import json
import pathlib
import sys

from tuf.ngclient import Updater

directory, url, *names = sys.argv[1:]
root = pathlib.Path(directory, "root.json").read_bytes()
cache = pathlib.Path(directory, "cache")
cache.mkdir(exist_ok=True)
updater = Updater(str(cache), url, bootstrap=root)
updater.refresh()
found = [updater.get_targetinfo(name) for name in names]
print(json.dumps(["none" if one is None else one.hashes["sha256"] for one in found]))
