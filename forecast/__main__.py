"""The command `forecast`, also as `python -m forecast`."""


def main() -> None:
    """Run the command of `sys.argv`.

    Ctrl-C and SIGTERM end it with exit code 130, also while modules are still imported. `identify`
    instead keeps the rows that are done, and `schedule run` has handlers of its own.
    """
    try:
        from forecast.system.errors import INTERRUPTED
        from forecast.system.processes import exit_now, stop_on_signals

        stop_on_signals()
        from forecast import cli

        cli.main()
    except KeyboardInterrupt:
        # raised before or after the command itself, which prints what it kept
        exit_now(INTERRUPTED)


if __name__ == "__main__":
    main()
