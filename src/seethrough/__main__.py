"""`python -m seethrough`, the same as `seethrough`."""

import sys

if __name__ == "__main__":
    if not getattr(sys.flags, "safe_path", False):
        sys.path.pop(0)  # the current folder, whose modules are nobody's unless a spec names them
    from seethrough.audit.cli import main

    main()
