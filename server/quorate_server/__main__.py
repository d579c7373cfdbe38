"""`python -m quorate_server` is the same as `quorate`."""

from quorate_server.cli import main

if __name__ == "__main__":
    main()
