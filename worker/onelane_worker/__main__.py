"""`python -m onelane_worker` is `onelane`."""

from onelane_worker.cli.main import main

if __name__ == "__main__":
    main()
