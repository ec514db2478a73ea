"""Call one function in the interpreter of the tool that is measured: `child.py MODULE FUNCTION JSON`.

The answer is the last line on standard output; whatever the tool prints goes to standard error. The checkout is not
put on the path, so that `import tracker` finds what is installed.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path


def main() -> None:
    module, function, arguments = sys.argv[1:]
    here = Path(__file__).parent
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != here]
    spec = spec_from_file_location("benchmarks", here / "__init__.py", submodule_search_locations=[str(here)])
    assert spec is not None
    assert spec.loader is not None
    package = sys.modules["benchmarks"] = module_from_spec(spec)
    spec.loader.exec_module(package)

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    answer = getattr(importlib.import_module(f"benchmarks.{module}"), function)(**json.loads(arguments))
    print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
