"""`python -m datassay`, the same as the command."""

from datassay.cli import main

if __name__ == "__main__":
    main()
