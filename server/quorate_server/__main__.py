"""`python -m quorate_server` is the same as `quorate`."""


def main() -> None:
    """Run the command line."""
    # Here: a process that folds logs loads this module too, and would load the whole server for nothing.
    from quorate_server.cli import main as run  # noqa: PLC0415

    run()


if __name__ == "__main__":
    main()
