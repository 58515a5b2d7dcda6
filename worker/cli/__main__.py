"""`python -m worker.cli` is `onelane`."""

from worker.cli.main import main

if __name__ == "__main__":
    main()
