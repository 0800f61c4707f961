"""`python -m datassay`, and the command: signals are heard before anything large is imported."""

import os
import sys

from datassay.signals import begin, end


def main() -> None:
    """Entry point of the command."""
    begin()
    # threads of torch and scikit-learn that wait for one another sleep: beside a busy process they would wait for its turns to end
    # with their own cores kept busy (read when these are loaded)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from datassay.cli import main as run

    status = 0
    try:
        run()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    end(status)
    sys.exit(status)


if __name__ == "__main__":
    main()
