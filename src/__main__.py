"""`python -m ivcprune` is the command `ivcprune`."""

from .cli import main

if __name__ == "__main__":
    main()
